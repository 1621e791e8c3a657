-- Charges the caller once, and for each coin answers from what is at hand, or joins the coin's open batch, or opens one.
-- Says so on the feed when that fills the batch. A coin that CoinGecko was lately found not to know gets no batch, nor
-- does one whose earliest call lies beyond the deadline. If nothing is left for any coin, nothing is charged.
-- KEYS    1 prefix  2 the caller's log  3 outbox  4 feed  5 budget  6 pending
-- ARGV    1 limit  2 limit window ms  3 threshold  4 window ms  5 ms to keep a batch  6 most prices the outbox
--         may hold  7 ms to the deadline  8, 9, 10 terms of the budget  11 most coins a call  12 cost
--         13 how old a price may be, ms, or -1  14 and if the upstream is in trouble  15 1: no fetch at all
--         16 1: prices that CoinGecko calls fresh will do  17, 18, 19 coin, currencies (`usd,eur`), id, should a batch be
--         opened  20, 21, 22 the next ...
-- Answer  {'outbox full'} | {'limited', remaining, reset ms} | {'admitted', remaining, reset ms, now ms, each}
--         each: {'joined', batch id, size, ms until due, latest prices ...} | {'fresh', latest prices ...} | {'unknown'} |
--         {'absent'} | {'over budget', ms until the earliest call}; latest prices, one a currency: at:until:size:batch:price
-- Names   <prefix>:open:<coin>  <prefix>:unknown:<coin>  <prefix>:latest:<coin>  <prefix>:batch:<id>
local now, threshold, window, keep = now_ms(), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local deadline, terms, most = tonumber(ARGV[7]), budget_terms(8), tonumber(ARGV[11])
local max_age, stale, only_at_hand, honour = tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[15] == '1', ARGV[16] == '1'
local next, troubled = next_call(KEYS[5], terms)
local wait = math.max(next - now, 0)
local in_trouble = wait > 0 and troubled

-- The latest prices in these currencies if all are fresh enough.
local function at_hand(coin, currencies, age, as_told)
  local latest = redis.call('HMGET', KEYS[1] .. ':latest:' .. coin, unpack(currencies))
  for _, price in ipairs(latest) do
    local at, fresh_until = string.match(price or '', '^(%d+):(%d+)')
    if not at or (now - at > age and not (as_told and tonumber(fresh_until) > now)) then
      return nil
    end
  end
  return latest
end

-- In how many ms the earliest call with room for the coin may be made.
local function call_in(coin)
  if terms.interval == 0 or redis.call('ZCARD', KEYS[6]) < most then
    return wait
  end
  -- Whoever joined a batch that is due for so long has left it.
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', now - keep)
  local id = redis.call('GET', KEYS[1] .. ':open:' .. coin)
  local before = id and redis.call('ZRANK', KEYS[6], id .. ':' .. coin) or redis.call('ZCARD', KEYS[6])
  return wait + math.floor(before / most) * terms.interval
end

local function without_call(coin, currencies)
  if redis.call('EXISTS', KEYS[1] .. ':unknown:' .. coin) == 1 then
    return { 'unknown' }
  end
  local fresh = (max_age >= 0 or honour) and at_hand(coin, currencies, max_age, honour)
  if fresh then
    return { 'fresh', unpack(fresh) }
  elseif only_at_hand then
    return { 'absent' }
  end
  local earliest = call_in(coin)
  local fallback = stale >= 0 and (in_trouble or earliest > deadline) and at_hand(coin, currencies, stale, false)
  if fallback then
    return { 'fresh', unpack(fallback) }
  elseif earliest > deadline then
    return { 'over budget', earliest }
  end
end

local function join(coin, currencies, id)
  local open = KEYS[1] .. ':open:' .. coin
  id = redis.call('GET', open) or id
  local batch = KEYS[1] .. ':batch:' .. id
  local seen = redis.call('HMGET', batch, 'due', 'currencies')
  local due, asked = tonumber(seen[1]), seen[2] or ','
  if not due then
    due = now + window
    redis.call('HSET', batch, 'coin', coin, 'state', 'open', 'due', due, 'fence', 0, 'lease', 0)
    redis.call('ZADD', KEYS[6], due, id .. ':' .. coin)
  end
  for _, currency in ipairs(currencies) do
    if not string.find(asked, ',' .. currency .. ',', 1, true) then
      asked = asked .. currency .. ','
      redis.call('HSET', batch, 'currencies', asked)
    end
  end
  local size = redis.call('HINCRBY', batch, 'size', 1)
  -- The batch goes first: should only its name be left, the id is free to be opened again.
  redis.call('PEXPIRE', batch, keep)
  redis.call('PEXPIRE', KEYS[6], keep)
  redis.call('SET', open, id, 'PX', keep)
  if size == threshold then
    redis.call('PUBLISH', KEYS[4], cjson.encode({ type = 'full', batch_id = id, size = size }))
  end
  local fallback = stale >= 0 and at_hand(coin, currencies, stale, false) or {}
  return { 'joined', id, size, math.max(due - now, 0), unpack(fallback) }
end

local wanted, answers, needs_call, all_refused = {}, {}, false, true
for i = 17, #ARGV, 3 do
  local currencies = {}
  for currency in string.gmatch(ARGV[i + 1], '[^,]+') do
    currencies[#currencies + 1] = currency
  end
  wanted[#wanted + 1] = { coin = ARGV[i], currencies = currencies, id = ARGV[i + 2] }
  local answer = without_call(ARGV[i], currencies)
  answers[#wanted] = answer or false
  needs_call = needs_call or not answer
  all_refused = all_refused and answer and answer[1] == 'over budget'
end
if needs_call and redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[6]) then
  return { 'outbox full' }
end
local cost = all_refused and 0 or tonumber(ARGV[12])
local granted, remaining, reset = charge(KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), cost)
if not granted then
  return { 'limited', remaining, reset }
end
for i, want in ipairs(wanted) do
  answers[i] = answers[i] or join(want.coin, want.currencies, want.id)
end
return { 'admitted', remaining, reset, now, unpack(answers) }
