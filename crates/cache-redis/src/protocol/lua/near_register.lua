-- Registers a session, in a new registry if there is none, and removes the one before it. Returns how many changes were
-- announced in the registry.
-- KEYS: registry, log. ARGV: session, the session before it, the name of a new registry, milliseconds that a registry without
-- sessions lives.
local announced = redis.call('HGET', KEYS[1], 'n')
if not announced then
  announced = '0'
  redis.call('UNLINK', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'g', ARGV[3], 'n', announced)
end
redis.call('HSET', KEYS[1], ARGV[1], announced .. ' 0')
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return tonumber(announced)
