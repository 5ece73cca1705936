-- Announces a change to the sessions of a registry. Returns the number of the change, and the fields and values of the registry
-- before it.
-- KEYS: registry, log; the log may be left out. ARGV: what has changed, the name of a new registry, the incarnation of the server, milliseconds that a
-- registry without sessions lives.
registry(KEYS[1], KEYS[2], ARGV[2], ARGV[3])
local fields = redis.call('HGETALL', KEYS[1])
local number = redis.call('HINCRBY', KEYS[1], 'n', 1)
-- The log only saves sessions from forgetting everything: it may be refused, lost, or left out.
if KEYS[2] then
  local logged = redis.pcall('XADD', KEYS[2], 'MAXLEN', '~', '1000', number .. '-1', 'w', ARGV[1])
  if type(logged) == 'table' and logged.err then redis.call('UNLINK', KEYS[2]) end
  redis.pcall('PEXPIRE', KEYS[2], ARGV[4])
end
if #fields == 6 then redis.call('PEXPIRE', KEYS[1], ARGV[4]) end
return {number, fields}
