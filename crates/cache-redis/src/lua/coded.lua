-- Redis before 7 puts the place in the script in front of the code of an error; callers tell errors by their code.
local function coded(failed)
  local code = string.match(failed.err, '^@user_script: ?%d+: %-(%u+) ')
  return code and redis.error_reply(code .. ' ' .. failed.err) or failed
end
