-- The last step of a large fill: moves the group back if the first step left its mark; else throws away what was staged,
-- and the group was never touched.
-- KEYS: group, staging key. ARGV: nonce of the token, milliseconds to live, 0 for ever, 1 where fields can expire, field.
if redis.call('HGET', KEYS[2], '\0') ~= ARGV[1] then
  redis.call('UNLINK', KEYS[2])
  return 0
end
redis.call('HDEL', KEYS[2], '\0')
redis.call('RENAME', KEYS[2], KEYS[1])
local left = redis.call('PTTL', KEYS[1])
if ARGV[2] == '0' then
  redis.call('PERSIST', KEYS[1])
elseif left >= 0 and left < tonumber(ARGV[2]) or left == -1 and redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
if ARGV[2] ~= '0' and ARGV[3] == '1' then
  redis.pcall('HPEXPIRE', KEYS[1], ARGV[2], 'FIELDS', 1, ARGV[4])
end
return 1
