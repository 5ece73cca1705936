-- The first step of a large fill: moves the group to the staging key if the field still begins with the nonce of the
-- token. The mark in it is the evidence for the last step; it is written first, so that where it cannot be written
-- (a full server) nothing is moved. Says what fill.lua says.
-- KEYS: group, staging key. ARGV: field, nonce.
local held = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(held) == 'table' then return coded(held) end
local marker = held and #held >= 17 and string.byte(held)
if not (marker == 76 or marker == 86) or string.sub(held, 2, 17) ~= ARGV[2] then
  return -1
end
local marked = redis.pcall('HSET', KEYS[1], '\0', ARGV[2])
if type(marked) == 'table' then return coded(marked) end
redis.call('RENAME', KEYS[1], KEYS[2])
return marker == 86 and #held or 0
