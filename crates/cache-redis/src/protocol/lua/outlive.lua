-- Prolongs a group for the `stored` values just stored in it: to at least `millis`, '0' for no end.
local function outlive(group, millis, stored)
  if millis == '0' then return redis.call('PERSIST', group) end
  local left = redis.call('PTTL', group)
  if left >= 0 and left < tonumber(millis) or left == -1 and redis.call('HLEN', group) == stored then
    redis.call('PEXPIRE', group, millis)
  end
end
