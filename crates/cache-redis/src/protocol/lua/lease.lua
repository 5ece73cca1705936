-- Creates leases in fields that hold nothing with a nonce. Returns the beginning of each field after that.
-- KEYS: group. ARGV: milliseconds a lease and a new group live, 1 where fields can expire, then pairs of field and lease.
local left = redis.call('PTTL', KEYS[1])
local slots = {}
for i = 3, #ARGV, 2 do
  local held = redis.pcall('HGET', KEYS[1], ARGV[i])
  if type(held) == 'table' then
    if string.sub(held.err, 1, 9) ~= 'WRONGTYPE' then return coded(held) end
    redis.call('UNLINK', KEYS[1])
    left, held = -2, false
  end
  local marker = held and #held >= 17 and string.byte(held)
  if marker == 76 or marker == 86 then
    slots[#slots + 1] = string.sub(held, 1, 17)
  else
    local planted = redis.pcall('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    if type(planted) == 'table' then return coded(planted) end
    if ARGV[2] == '1' and left ~= -2 then
      -- Without this, a lease that is never filled would stay in a group without expiry. It only costs memory, so a missing
      -- permission is no error.
      redis.pcall('HPEXPIRE', KEYS[1], ARGV[1], 'FIELDS', 1, ARGV[i])
    end
    slots[#slots + 1] = ARGV[i + 1]
  end
end
-- A group of leases alone expires; a group without expiry keeps none.
if left == -2 or (left >= 0 and left < tonumber(ARGV[1])) then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return slots
