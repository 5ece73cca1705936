-- The first and the last step of fills whose values are stored between the two, by HSET. Both are one script, so that
-- within a transaction the server knows either both or none.
-- KEYS: groups, then as many staging keys. ARGV: in the first step 'first', then for each group the number of fields, the
-- fields, and for each of them a lease with the nonce of its token; in the last step 'last', then for each group
-- milliseconds to live, 0 for no end, the number of fields, and the number of pairs of field and milliseconds that follow.
local groups, at = #KEYS / 2, 2
if ARGV[1] == 'first' then
  -- Returns for each field what fill.lua returns, or 0 for all.
  local outcomes, are_all_valid, are_all_leases = {}, true, true
  for g = 1, groups do
    local count = tonumber(ARGV[at])
    local held = redis.pcall('HMGET', KEYS[g], unpack(ARGV, at + 1, at + count))
    if held.err then
      -- A key that is no hash holds no nonce.
      if string.sub(held.err, 1, 9) ~= 'WRONGTYPE' then return coded(held) end
      held = {}
    end
    for i = 1, count do
      local outcome = replaced(held[i], ARGV[at + count + i])
      are_all_valid = are_all_valid and outcome >= 0
      are_all_leases = are_all_leases and outcome == 0
      outcomes[#outcomes + 1] = outcome
    end
    at = at + 2 * count + 1
  end
  if are_all_valid then
    -- Moves the groups to their staging keys. The mark in the first of them is the evidence for the last step: it is
    -- written before anything moves, so that where it cannot be written (a full server) nothing does; and it arrives
    -- when all others have.
    local marked = redis.pcall('HSET', KEYS[1], '\0', '')
    if type(marked) == 'table' then return coded(marked) end
    for g = groups, 1, -1 do
      redis.call('RENAME', KEYS[g], KEYS[groups + g])
    end
  end
  return are_all_leases and 0 or outcomes
end
-- Moves the groups back if the first step left its mark. Otherwise the staging keys hold only the values.
if redis.call('HDEL', KEYS[groups + 1], '\0') == 0 then
  return 0
end
for g = 1, groups do
  redis.call('RENAME', KEYS[groups + g], KEYS[g])
  outlive(KEYS[g], ARGV[at], tonumber(ARGV[at + 1]))
  local pairs_end = at + 2 + 2 * tonumber(ARGV[at + 2])
  for i = at + 3, pairs_end, 2 do
    redis.pcall('HPEXPIRE', KEYS[g], ARGV[i + 1], 'FIELDS', 1, ARGV[i])
  end
  at = pairs_end + 1
end
return 1
