-- Returns how many bytes of an older value a fill would replace, 0 for a lease; -1 if its token is not valid: the content
-- does not begin with the nonce of this lease.
local function replaced(held, lease)
  if held == lease then return 0 end
  local marker = held and string.byte(held)
  if (marker == 76 or marker == 86) and string.sub(held, 2, 17) == string.sub(lease, 2) then
    return marker == 86 and #held or 0
  end
  return -1
end
