-- Reads when the next upstream call may be made, and the batches that may go with it, open ones and those whose flusher
-- abandoned them; changes nothing.
-- KEYS    1 prefix  2 pending  3 budget  4 under way
-- ARGV    1, 2, 3 terms of the budget  4 most batches wanted, of either kind  5 lease ms
-- Answer  {now ms, ms until the next call | -1 the budget is lost | -2 a new month began, calls of the month,
--         batch id:coin, ms until due, the next ...}, first the open ones; without those whose
--         coin has another claimed batch under lease
-- Names   <prefix>:claimed:<coin>  <prefix>:batch:<id>
local now = now_ms()
local calls = tonumber(redis.call('HGET', KEYS[3], 'calls') or 0)
local answer = { now, permit_in(KEYS[3], now, budget_terms(1)), calls }
local most = tonumber(ARGV[4])
if most == 0 then
  return answer
end

local function lease_of(id)
  return tonumber(id and redis.call('HGET', KEYS[1] .. ':batch:' .. id, 'lease') or 0)
end

local open = redis.call('ZRANGE', KEYS[2], 0, most - 1, 'WITHSCORES')
for i = 1, #open, 2 do
  local coin = string.match(open[i], ':(.*)')
  if lease_of(redis.call('GET', KEYS[1] .. ':claimed:' .. coin)) <= now then
    answer[#answer + 1], answer[#answer + 2] = open[i], open[i + 1] - now
  end
end
-- Whoever was claimed later cannot have been abandoned yet.
for _, batch in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[5], 'LIMIT', 0, most)) do
  if lease_of(string.match(batch, '^(.-):')) <= now then
    answer[#answer + 1], answer[#answer + 2] = batch, 0
  end
end
return answer
