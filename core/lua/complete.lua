-- Keeps the results of batches still claimed by these claims, hands their prices to the outbox, and tells everybody.
-- A result that comes again, as when an answer of ours was lost, is accepted and changes nothing. The time of the claim,
-- which is the time of fetch, must match beside the fencing token: a Redis that lost its last writes counts anew.
-- KEYS    1 prefix  2 outbox  3 feed
-- ARGV    1 ms to keep a batch  2 ms to remember an unknown coin  3 ms to remember a known one
--         4 JSON: [{batch_id, coin_id, fence, state,
--         unknown_coin (whether CoinGecko does not know it), result (JSON text), fetched_at (ms, text),
--         prices: [[currency, price (text)], ...]}, ...]
-- Answer  the ids of the batches accepted
-- Names   <prefix>:claimed:<coin>  <prefix>:unknown:<coin>  <prefix>:known:<coin>  <prefix>:batch:<id>
local accepted, news = {}, {}
for _, done in ipairs(cjson.decode(ARGV[4])) do
  local batch = KEYS[1] .. ':batch:' .. done.batch_id
  local seen = redis.call('HMGET', batch, 'state', 'fence', 'claimed')
  if seen[1] and seen[2] == done.fence and seen[3] == done.fetched_at then
    accepted[#accepted + 1] = done.batch_id
    if seen[1] == 'claimed' then
      redis.call('HSET', batch, 'state', done.state, 'result', done.result)
      redis.call('PEXPIRE', batch, ARGV[1])
      local claimed = KEYS[1] .. ':claimed:' .. done.coin_id
      if redis.call('GET', claimed) == done.batch_id then
        redis.call('DEL', claimed)
      end
      local known = KEYS[1] .. ':known:' .. done.coin_id
      if #done.prices > 0 then
        redis.call('SET', known, 1, 'PX', ARGV[3])
      elseif done.unknown_coin and redis.call('EXISTS', known) == 0 then
        redis.call('SET', KEYS[1] .. ':unknown:' .. done.coin_id, 1, 'PX', ARGV[2])
      end
      for _, price in ipairs(done.prices) do
        redis.call('XADD', KEYS[2], '*', 'batch', done.batch_id, 'coin', done.coin_id,
          'currency', price[1], 'price', price[2], 'at', done.fetched_at)
      end
      news[#news + 1] = done.result
    end
  end
end
if #news > 0 then
  redis.call('PUBLISH', KEYS[3], '{"type":"settled","results":[' .. table.concat(news, ',') .. ']}')
end
return accepted
