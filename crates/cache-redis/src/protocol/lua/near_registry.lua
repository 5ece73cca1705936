-- Returns the name of a registry and how many changes were announced in it. Makes a new one, without sessions, if there is none,
-- if it is damaged, or if it is of another incarnation of the server: `epoch` is not that of the registry then.
local function registry(key, log, name, epoch)
  local held = redis.pcall('HMGET', key, 'g', 'n', 'e')
  if held.err or not held[1] or not tonumber(held[2]) or held[3] ~= epoch then
    -- A full server refuses this. After a removal it would let the script go on.
    if not held.err then redis.call('HSET', key, 'g', name) end
    redis.call('UNLINK', key)
    if log then redis.call('UNLINK', log) end
    redis.call('HSET', key, 'g', name, 'n', '0', 'e', epoch)
    return name, 0
  end
  return held[1], tonumber(held[2])
end
