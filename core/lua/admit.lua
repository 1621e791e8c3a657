-- Charges the caller and joins the coin's open batch, or opens one. Says so on the feed when that fills the batch.
-- A coin that CoinGecko was lately found not to know gets no batch.
-- KEYS    1 prefix  2 the caller's log  3 outbox  4 feed
-- ARGV    1 limit  2 limit window ms  3 coin  4 currency  5 id, should a batch be opened  6 threshold  7 window ms
--         8 ms to keep the batch  9 most prices the outbox may hold
-- Answer  {'admitted', remaining, reset ms, batch id, size, ms until due} | {'limited', 0, reset ms} |
--         {'unknown', remaining, reset ms} | {'outbox full'}
-- Names   <prefix>:open:<coin>  <prefix>:unknown:<coin>  <prefix>:batch:<id>
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[9]) then
  return { 'outbox full' }
end
local now = now_ms()
local granted, remaining, reset = charge(KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]))
if not granted then
  return { 'limited', remaining, reset }
end

local coin, currency, window, keep = ARGV[3], ',' .. ARGV[4] .. ',', tonumber(ARGV[7]), tonumber(ARGV[8])
if redis.call('EXISTS', KEYS[1] .. ':unknown:' .. coin) == 1 then
  return { 'unknown', remaining, reset }
end
local open = KEYS[1] .. ':open:' .. coin
local id = redis.call('GET', open) or ARGV[5]
local batch = KEYS[1] .. ':batch:' .. id
local seen = redis.call('HMGET', batch, 'due', 'currencies')
local due, currencies = tonumber(seen[1]), seen[2] or ','
if not due then
  due = now + window
  redis.call('HSET', batch, 'coin', coin, 'state', 'open', 'due', due, 'fence', 0, 'lease', 0)
end
if not string.find(currencies, currency, 1, true) then
  redis.call('HSET', batch, 'currencies', currencies .. ARGV[4] .. ',')
end
local size = redis.call('HINCRBY', batch, 'size', 1)
-- The batch goes first: should only its name be left, the id is free to be opened again.
redis.call('PEXPIRE', batch, keep)
redis.call('SET', open, id, 'PX', keep)
if size == tonumber(ARGV[6]) then
  redis.call('PUBLISH', KEYS[4], cjson.encode({ type = 'full', batch_id = id, size = size }))
end
return { 'admitted', remaining, reset, id, size, math.max(due - now, 0) }
