-- The first and the last step of a large fill: the value is stored between them and never passes through here. Both are
-- one script, so that within a transaction the server knows either both or none.
-- KEYS: group, staging key. ARGV: field, nonce of the token, and in the last step milliseconds to live, 0 for ever, and 1
-- where fields can expire.
local group, staging, field, nonce, millis = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3]
if not millis then
  -- Moves the group to the staging key if the field still begins with the nonce. The mark in it is the evidence for the
  -- last step; it is written first, so that where it cannot be written (a full server) nothing is moved. Says what
  -- fill.lua says.
  local held = redis.pcall('HGET', group, field)
  if type(held) == 'table' then return coded(held) end
  local marker = held and #held >= 17 and string.byte(held)
  if not (marker == 76 or marker == 86) or string.sub(held, 2, 17) ~= nonce then
    return -1
  end
  local marked = redis.pcall('HSET', group, '\0', nonce)
  if type(marked) == 'table' then return coded(marked) end
  redis.call('RENAME', group, staging)
  return marker == 86 and #held or 0
end
-- Moves it back if the first step left its mark. If not, the group was never touched.
if redis.call('HGET', staging, '\0') ~= nonce then
  return 0
end
redis.call('HDEL', staging, '\0')
redis.call('RENAME', staging, group)
if millis == '0' then
  redis.call('PERSIST', group)
  return 1
end
local left = redis.call('PTTL', group)
if left >= 0 and left < tonumber(millis) or left == -1 and redis.call('HLEN', group) == 1 then
  redis.call('PEXPIRE', group, millis)
end
if ARGV[4] == '1' then
  redis.pcall('HPEXPIRE', group, millis, 'FIELDS', 1, field)
end
return 1
