-- Registers a session and removes the one before it. Returns how many changes were announced in the registry, and its name.
-- KEYS: registry, log. ARGV: session, the session before it, the name of a new registry, the incarnation of the server,
-- milliseconds that a registry without sessions lives.
local name, announced = registry(KEYS[1], KEYS[2], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[1], ARGV[1], announced .. ' 0')
redis.call('HDEL', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {announced, name}
