-- Stores values, each only if its field still begins with the nonce of its token. Returns for each -1 if it does not, else
-- how many bytes of an older value were replaced, 0 for a lease.
-- KEYS: group. ARGV: 1 where fields can expire, then quadruples of field, lease with the nonce, envelope and milliseconds
-- to live, 0 for no end.
local outcomes, stored, longest = {}, 0, 0
for i = 2, #ARGV, 4 do
  local field, millis = ARGV[i], ARGV[i + 3]
  local held = redis.pcall('HGET', KEYS[1], field)
  if type(held) == 'table' then return coded(held) end
  local outcome = replaced(held, ARGV[i + 1])
  if outcome >= 0 then
    local done = redis.pcall('HSET', KEYS[1], field, ARGV[i + 2])
    if type(done) == 'table' then return coded(done) end
    stored = stored + 1
    if millis == '0' then
      longest = '0'
    else
      longest = longest ~= '0' and math.max(longest, tonumber(millis)) or longest
      if ARGV[1] == '1' then
        redis.pcall('HPEXPIRE', KEYS[1], millis, 'FIELDS', 1, field)
      end
    end
  end
  outcomes[#outcomes + 1] = outcome
end
if stored > 0 then outlive(KEYS[1], longest, stored) end
return outcomes
