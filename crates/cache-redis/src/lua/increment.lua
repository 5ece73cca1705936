-- Adds to a counter, which stays within 64 bits.
-- KEYS: counter. ARGV: what to add.
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) ~= 'table' or not sum.err then
  -- Lua's numbers are too short for it.
  return redis.call('GET', KEYS[1])
end
-- An integer that cannot be added to has reached its end; anything else is the caller's to see.
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' or not string.find(held, '^-?%d+$') then
  return sum
end
local bound = string.sub(ARGV[1], 1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
redis.call('SET', KEYS[1], bound)
return bound
