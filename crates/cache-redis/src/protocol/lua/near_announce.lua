-- Announces a change to the sessions of a registry, which is made if there is none. Returns the number of the change, and the
-- fields and values of the registry before it.
-- KEYS: registry, log. ARGV: what has changed, the name of a new registry, milliseconds that a registry without sessions lives.
local fields = redis.call('HGETALL', KEYS[1])
if #fields == 0 then
  redis.call('UNLINK', KEYS[2])
  fields = {'g', ARGV[2], 'n', '0'}
  redis.call('HSET', KEYS[1], unpack(fields))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
local number = redis.call('HINCRBY', KEYS[1], 'n', 1)
-- The log only saves sessions from forgetting everything: it may be refused, or lost.
redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', '1000', number .. '-1', 'w', ARGV[1])
redis.pcall('PEXPIRE', KEYS[2], ARGV[3])
return {number, fields}
