-- The first and the last step of a fill whose values never pass through here: they are stored between the two. Both are
-- one script, so that within a transaction the server knows either both or none.
-- KEYS: group, staging key. ARGV: in the first step 'first', the fields, and for each of them a lease with the nonce of
-- its token; in the last step 'last', milliseconds to live, 0 for ever, the number of fields, and where fields can expire
-- pairs of field and milliseconds.
local group, staging = KEYS[1], KEYS[2]
if ARGV[1] == 'first' then
  -- Moves the group to the staging key if every field still begins with its nonce. The mark in it is the evidence for the
  -- last step; it is written first, so that where it cannot be written (a full server) nothing is moved. Says of each
  -- field what fill.lua says.
  local count = (#ARGV - 1) / 2
  local held = redis.pcall('HMGET', group, unpack(ARGV, 2, count + 1))
  if held.err then return coded(held) end
  local outcomes, do_all_stand = {}, true
  for i = 1, count do
    outcomes[i] = replaced(held[i], ARGV[count + 1 + i])
    do_all_stand = do_all_stand and outcomes[i] >= 0
  end
  if do_all_stand then
    local marked = redis.pcall('HSET', group, '\0', '')
    if type(marked) == 'table' then return coded(marked) end
    redis.call('RENAME', group, staging)
  end
  return outcomes
end
-- Moves it back if the first step left its mark. If not, the group was never touched.
if redis.call('HDEL', staging, '\0') == 0 then
  return 0
end
redis.call('RENAME', staging, group)
outlive(group, ARGV[2], tonumber(ARGV[3]))
for i = 4, #ARGV, 2 do
  redis.pcall('HPEXPIRE', group, ARGV[i + 1], 'FIELDS', 1, ARGV[i])
end
return 1
