-- Removes sessions whose values have not changed since the caller saw them: none has been renewed meanwhile.
-- KEYS: registry. ARGV: pairs of session and value. Returns how many were removed.
local removed = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return removed
