-- Keeps the results of batches still claimed by these claims, hands their prices to the outbox, and tells everybody;
-- and takes down what their upstream call says of the next one.
-- A result that comes again, as when an answer of ours was lost, is accepted and changes nothing. The time of the claim,
-- which is the time of fetch, must match beside the fencing token: a Redis that lost its last writes counts anew.
-- KEYS    1 prefix  2 outbox  3 feed  4 budget  5 under way
-- ARGV    1, 2, 3 terms of the budget  4 ms to keep a batch  5 ms to remember an unknown coin  6 ms to remember prices
--         7 JSON: {at (ms: claimed, and fetched), outcome, wait, longest, billed (as for `learn`), fresh_until (ms),
--         batches: [{batch_id, coin_id, fence, size, state, unknown_coin (whether CoinGecko does not know it),
--         result (JSON text), prices: [[currency, price (text)], ...], unlisted: [currency, ...]}, ...]}
-- Answer  the ids of the batches accepted
-- Names   <prefix>:claimed:<coin>  <prefix>:unknown:<coin>  <prefix>:latest:<coin>  <prefix>:batch:<id>
local now, terms, call = now_ms(), budget_terms(1), cjson.decode(ARGV[7])
local accepted, news = {}, {}

local function remember(done)
  local latest = KEYS[1] .. ':latest:' .. done.coin_id
  local origin = table.concat({ call.at, call.fresh_until, done.size, done.batch_id, '' }, ':')
  for _, price in ipairs(done.prices) do
    redis.call('HSET', latest, price[1], origin .. price[2])
    redis.call('XADD', KEYS[2], '*', 'batch', done.batch_id, 'coin', done.coin_id,
      'currency', price[1], 'price', price[2], 'at', call.at)
  end
  for _, currency in ipairs(done.unlisted) do
    redis.call('HSET', latest, currency, origin)
  end
  if #done.prices + #done.unlisted > 0 then
    redis.call('PEXPIRE', latest, ARGV[6])
    redis.call('DEL', KEYS[1] .. ':unknown:' .. done.coin_id)
  elseif done.unknown_coin and redis.call('EXISTS', latest) == 0 then
    redis.call('SET', KEYS[1] .. ':unknown:' .. done.coin_id, 1, 'PX', ARGV[5])
  end
end

for _, done in ipairs(call.batches) do
  local batch = KEYS[1] .. ':batch:' .. done.batch_id
  local seen = redis.call('HMGET', batch, 'state', 'fence', 'claimed')
  if seen[1] and seen[2] == done.fence and seen[3] == call.at then
    accepted[#accepted + 1] = done.batch_id
    if seen[1] == 'claimed' then
      redis.call('HSET', batch, 'state', done.state, 'result', done.result)
      redis.call('PEXPIRE', batch, ARGV[4])
      redis.call('ZREM', KEYS[5], done.batch_id .. ':' .. done.coin_id)
      local claimed = KEYS[1] .. ':claimed:' .. done.coin_id
      if redis.call('GET', claimed) == done.batch_id then
        redis.call('DEL', claimed)
      end
      remember(done)
      news[#news + 1] = done.result
    end
  end
end
if #accepted == 0 then
  -- Another took over; yet what the upstream said of the next call holds. Nothing is given back, lest it be twice.
  call.billed = true
  learn(KEYS[4], KEYS[3], now, terms, call)
elseif #news > 0 then
  learn(KEYS[4], KEYS[3], now, terms, call)
  redis.call('PUBLISH', KEYS[3], '{"type":"settled","results":[' .. table.concat(news, ',') .. ']}')
end
return accepted
