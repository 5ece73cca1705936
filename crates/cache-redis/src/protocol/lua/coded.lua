-- Moves the code of an error to its beginning, where callers expect it: Redis before 7 puts the position in the script there.
local function coded(failed)
  local code = string.match(failed.err, '^@user_script: ?%d+: %-(%u+) ')
  return code and redis.error_reply(code .. ' ' .. failed.err) or failed
end
