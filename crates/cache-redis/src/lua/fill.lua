-- Stores values, each only if its field still begins with the nonce of its token. For each it says -1 if not, else how
-- many bytes of an older value it replaced, 0 for a lease.
-- KEYS: group. ARGV: 1 where fields can expire, then quadruples of field, nonce, envelope and milliseconds to live, 0 for
-- ever.
local outcomes = {}
for i = 2, #ARGV, 4 do
  local held = redis.pcall('HGET', KEYS[1], ARGV[i])
  if type(held) == 'table' then return coded(held) end
  local marker = held and #held >= 17 and string.byte(held)
  if (marker == 76 or marker == 86) and string.sub(held, 2, 17) == ARGV[i + 1] then
    local stored = redis.pcall('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    if type(stored) == 'table' then return coded(stored) end
    local left = redis.call('PTTL', KEYS[1])
    if ARGV[i + 3] == '0' then
      redis.call('PERSIST', KEYS[1])
    elseif left >= 0 and left < tonumber(ARGV[i + 3]) or left == -1 and redis.call('HLEN', KEYS[1]) == 1 then
      redis.call('PEXPIRE', KEYS[1], ARGV[i + 3])
    end
    if ARGV[i + 3] ~= '0' and ARGV[1] == '1' then
      redis.pcall('HPEXPIRE', KEYS[1], ARGV[i + 3], 'FIELDS', 1, ARGV[i])
    end
    outcomes[#outcomes + 1] = marker == 86 and #held or 0
  else
    outcomes[#outcomes + 1] = -1
  end
end
return outcomes
