-- Lengthens the leases of batches that are still claimed by these claims.
-- KEYS    1 prefix
-- ARGV    1 lease ms  2 ms to keep a batch  3, 4, 5 batch id, fence, when claimed (ms)  6, 7, 8 the next ...
-- Answer  how many are still held
-- Names   <prefix>:batch:<id>
local now, held = now_ms(), 0
for i = 3, #ARGV, 3 do
  local batch = KEYS[1] .. ':batch:' .. ARGV[i]
  local seen = redis.call('HMGET', batch, 'state', 'fence', 'claimed')
  if seen[1] == 'claimed' and seen[2] == ARGV[i + 1] and seen[3] == ARGV[i + 2] then
    redis.call('HSET', batch, 'lease', now + tonumber(ARGV[1]))
    redis.call('PEXPIRE', batch, ARGV[2])
    held = held + 1
  end
end
return held
