-- Gives claims back whose call was not made: others may claim the batches at once, and the month is not charged.
-- KEYS    1 prefix  2 budget  3 under way  4 feed
-- ARGV    1, 2, 3 terms of the budget  4, 5, 6 batch id, fence, when claimed (ms)  7, 8, 9 the next ...
-- Names   <prefix>:batch:<id>
local released = false
for i = 4, #ARGV, 3 do
  local batch = KEYS[1] .. ':batch:' .. ARGV[i]
  local seen = redis.call('HMGET', batch, 'state', 'fence', 'claimed', 'coin')
  if seen[1] == 'claimed' and seen[2] == ARGV[i + 1] and seen[3] == ARGV[i + 2] then
    redis.call('HSET', batch, 'lease', 0)
    redis.call('ZADD', KEYS[3], 0, ARGV[i] .. ':' .. seen[4])
    released = true
  end
end
if released then
  refund(KEYS[2], KEYS[4], now_ms(), tonumber(ARGV[6]), budget_terms(1))
end
