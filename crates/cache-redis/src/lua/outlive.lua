-- Lets a group live as long as values that were just stored in it, `stored` of them: `millis` at least, '0' for ever.
local function outlive(group, millis, stored)
  if millis == '0' then return redis.call('PERSIST', group) end
  local left = redis.call('PTTL', group)
  if left >= 0 and left < tonumber(millis) or left == -1 and redis.call('HLEN', group) == stored then
    redis.call('PEXPIRE', group, millis)
  end
end
