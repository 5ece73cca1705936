-- Lets a group live as long as the value that was just stored in it, at least.
-- KEYS: group. ARGV: milliseconds, 1 where fields can expire, field.
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) or left == -1 and redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
if ARGV[2] == '1' then
  redis.pcall('HPEXPIRE', KEYS[1], ARGV[1], 'FIELDS', 1, ARGV[3])
end
return 1
