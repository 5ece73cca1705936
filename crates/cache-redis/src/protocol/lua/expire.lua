-- Sets the expiry of a value that was just stored; its group lives at least as long.
-- KEYS: group. ARGV: milliseconds, 1 where fields can expire, field.
outlive(KEYS[1], ARGV[1], 1)
if ARGV[2] == '1' then
  redis.pcall('HPEXPIRE', KEYS[1], ARGV[1], 'FIELDS', 1, ARGV[3])
end
return 1
