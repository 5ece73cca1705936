-- Renews a session, unless it is not registered any more. Returns how many changes were announced, how many fields the registry
-- has, and the value that the session has now.
-- KEYS: registry. ARGV: session, its value, the incarnation of the server, milliseconds that a registry without sessions lives.
local held = redis.call('HMGET', KEYS[1], ARGV[1], 'n', 'e')
if not held[1] or not tonumber(held[2]) or held[3] ~= ARGV[3] then return false end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {tonumber(held[2]), redis.call('HLEN', KEYS[1]), ARGV[2]}
