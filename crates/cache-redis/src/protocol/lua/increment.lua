-- Adds to a counter, which stays within 64 bits.
-- KEYS: counter. ARGV: what to add.
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) ~= 'table' or not sum.err then
  -- Lua numbers cannot hold 64-bit integers.
  return redis.call('GET', KEYS[1])
end
-- An integer that cannot be incremented has reached the end of its range, which takes 19 digits on one side; other errors
-- are returned.
local held = redis.pcall('GET', KEYS[1])
local is_number = type(held) == 'string' and string.find(held, '^-?%d+$')
if not is_number or string.sub(sum.err, 1, 4) ~= 'ERR ' or (#held < 19 and #ARGV[1] < 19) then
  return coded(sum)
end
local bound = string.sub(ARGV[1], 1, 1) == '-' and '-9223372036854775808' or '9223372036854775807'
redis.call('SET', KEYS[1], bound)
return bound
