-- Renews a session, unless it is not registered any more. Returns how many changes were announced, how many fields the registry
-- has, and the value that the session has now.
-- KEYS: registry. ARGV: session, its value, milliseconds that a registry without sessions lives.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return false end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {tonumber(redis.call('HGET', KEYS[1], 'n')), redis.call('HLEN', KEYS[1]), ARGV[2]}
