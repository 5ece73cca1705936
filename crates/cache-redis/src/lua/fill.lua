-- Stores values, each only if its field still begins with the nonce of its token. For each it says -1 if not, else how
-- many bytes of an older value it replaced, 0 for a lease.
-- KEYS: group. ARGV: 1 where fields can expire, then quadruples of field, nonce, envelope and milliseconds to live, 0 for
-- ever.
local outcomes, stored, for_ever, longest = {}, 0, false, 0
for i = 2, #ARGV, 4 do
  local held = redis.pcall('HGET', KEYS[1], ARGV[i])
  if type(held) == 'table' then return coded(held) end
  local marker = held and #held >= 17 and string.byte(held)
  if (marker == 76 or marker == 86) and string.sub(held, 2, 17) == ARGV[i + 1] then
    local done = redis.pcall('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    if type(done) == 'table' then return coded(done) end
    stored = stored + 1
    if ARGV[i + 3] == '0' then
      for_ever = true
    else
      longest = math.max(longest, tonumber(ARGV[i + 3]))
      if ARGV[1] == '1' then
        redis.pcall('HPEXPIRE', KEYS[1], ARGV[i + 3], 'FIELDS', 1, ARGV[i])
      end
    end
    outcomes[#outcomes + 1] = marker == 86 and #held or 0
  else
    outcomes[#outcomes + 1] = -1
  end
end
if for_ever then
  redis.call('PERSIST', KEYS[1])
elseif longest > 0 then
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left < longest or left == -1 and redis.call('HLEN', KEYS[1]) == stored then
    redis.call('PEXPIRE', KEYS[1], longest)
  end
end
return outcomes
