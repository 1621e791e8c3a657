-- For each of several requests: charges the caller once, and for each coin answers from what is at hand, or joins the
-- coin's open batch, or opens one. Says so on the feed when that fills a batch that others may wait for. A coin that
-- CoinGecko was lately found not to know gets no batch, nor does one whose earliest call lies beyond the deadline. If
-- nothing is left for any coin of a request, nothing is charged for it. A batch that is all that was joined, and exactly
-- full, is claimed at once, with what rides along; where more came there is a crowd, which a claim's way leaves time for.
-- KEYS    1 prefix  2 outbox  3 feed  4 budget  5 pending  6 under way  7 ... the log of each request's caller
-- ARGV    1 limit  2 limit window ms  3 threshold  4 window ms  5 ms to keep a batch  6 most prices the outbox
--         may hold  7 ms to the deadline  8, 9, 10 terms of the budget  11 most coins a call  12 how long their ids may be
--         in all, each with a comma  13 lease ms  14 1: claim, and for each request:
--         cost, how old a price may be (ms, or -1), and if the upstream is in trouble, 1: no fetch at all,
--         1: prices that CoinGecko calls fresh will do, how many coins, and for each coin:
--         its id, currencies (`usd,eur`), id, should a batch be opened
-- Answer  {now ms, what was claimed: {} or as claim.lua answers, one a request: {'outbox full'} |
--         {'limited', remaining, reset ms} | {'admitted', remaining, reset ms, each}}
--         each: {'joined', batch id, size, ms until due, latest prices ...} | {'fresh', latest prices ...} | {'unknown'} |
--         {'absent'} | {'over budget', ms until the earliest call}; latest prices, one a currency: at:until:size:batch:price
-- Names   <prefix>:open:<coin>  <prefix>:unknown:<coin>  <prefix>:latest:<coin>  <prefix>:batch:<id>
local limit, limit_window, threshold = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window, keep, most_kept = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local exactly = now_us()
local now = math.floor(exactly / 1000)
local deadline, terms, most = tonumber(ARGV[7]), budget_terms(8), tonumber(ARGV[11])
local call_at, troubled = next_call(KEYS[4], terms)
local wait = math.max(call_at - now, 0)
local in_trouble = wait > 0 and troubled

-- What is read for one request holds for all of this call: thousands that come at once ask for few coins.
local function read_once(read)
  local seen = {}
  return function(name)
    if seen[name] == nil then
      seen[name] = read(name)
    end
    return seen[name]
  end
end

local is_unknown = read_once(function(coin)
  return redis.call('EXISTS', KEYS[1] .. ':unknown:' .. coin) == 1
end)

local outbox_is_full = read_once(function()
  return redis.call('XLEN', KEYS[2]) >= most_kept
end)

local currencies_in = read_once(function(text)
  local currencies = {}
  for currency in string.gmatch(text, '[^,]+') do
    currencies[#currencies + 1] = currency
  end
  return currencies
end)

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

local batches, joined = {}, {} -- the batches joined in this call, by coin, and in the order of joining

-- In how many ms the earliest call with room for the coin may be made.
local function call_in(coin)
  if terms.interval == 0 or redis.call('ZCARD', KEYS[5]) < most then
    return wait
  end
  -- Whoever joined a batch that is due for so long has left it.
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now - keep)
  local id = batches[coin] and batches[coin].id or redis.call('GET', KEYS[1] .. ':open:' .. coin)
  local before = id and redis.call('ZRANK', KEYS[5], id .. ':' .. coin) or redis.call('ZCARD', KEYS[5])
  return wait + math.floor(before / most) * terms.interval
end

local function without_call(request, coin, currencies)
  if is_unknown(coin) then
    return { 'unknown' }
  end
  local fresh = (request.age >= 0 or request.honour) and at_hand(coin, currencies, request.age, request.honour)
  if fresh then
    return { 'fresh', unpack(fresh) }
  elseif request.only_at_hand then
    return { 'absent' }
  end
  local earliest = call_in(coin)
  local stale = request.stale
  local fallback = stale >= 0 and (in_trouble or earliest > deadline) and at_hand(coin, currencies, stale, false)
  if fallback then
    return { 'fresh', unpack(fallback) }
  elseif earliest > deadline then
    return { 'over budget', earliest }
  end
end

-- The coin's open batch, as it will be once all who join it in this call are written down.
local function open_batch(coin, id)
  local batch = batches[coin]
  if not batch then
    id = redis.call('GET', KEYS[1] .. ':open:' .. coin) or id
    batch = { coin = coin, id = id, key = KEYS[1] .. ':batch:' .. id }
    local seen = redis.call('HMGET', batch.key, 'due', 'currencies', 'size')
    batch.due, batch.currencies, batch.before = tonumber(seen[1]), seen[2] or ',', tonumber(seen[3] or 0)
    batch.size = batch.before
    if not batch.due then
      batch.due = now + window
      redis.call('ZADD', KEYS[5], batch.due, id .. ':' .. coin)
    end
    batches[coin], joined[#joined + 1] = batch, batch
  end
  return batch
end

local function join(request, coin, currencies, id)
  local batch = open_batch(coin, id)
  for _, currency in ipairs(currencies) do
    if not string.find(batch.currencies, ',' .. currency .. ',', 1, true) then
      batch.currencies = batch.currencies .. currency .. ','
    end
  end
  batch.size = batch.size + 1
  local fallback = request.stale >= 0 and at_hand(coin, currencies, request.stale, false) or {}
  return { 'joined', batch.id, batch.size, math.max(batch.due - now, 0), unpack(fallback) }
end

local function write_joined()
  for _, batch in ipairs(joined) do
    local changed = { 'size', batch.size, 'currencies', batch.currencies }
    if batch.before == 0 then
      changed = { 'coin', batch.coin, 'state', 'open', 'due', batch.due, 'fence', 0, 'lease', 0, unpack(changed) }
    end
    redis.call('HSET', batch.key, unpack(changed))
    -- The batch goes first: should only its name be left, the id is free to be opened again.
    redis.call('PEXPIRE', batch.key, keep)
    redis.call('SET', KEYS[1] .. ':open:' .. batch.coin, batch.id, 'PX', keep)
    if batch.before > 0 and batch.before < threshold and batch.size >= threshold then
      redis.call('PUBLISH', KEYS[3], cjson.encode({ type = 'full', batch_id = batch.id, size = batch.size }))
    end
  end
  if joined[1] then
    redis.call('PEXPIRE', KEYS[5], keep)
  end
end

local function admit(request, log)
  local answers, needs_call, all_refused = {}, false, true
  for i, want in ipairs(request.wanted) do
    local answer = without_call(request, want.coin, want.currencies)
    answers[i] = answer or false
    needs_call = needs_call or not answer
    all_refused = all_refused and answer and answer[1] == 'over budget'
  end
  if needs_call and outbox_is_full('') then
    return { 'outbox full' }
  end
  local cost = all_refused and 0 or request.cost
  local granted, remaining, reset = charge(exactly, log, limit, limit_window, cost)
  if not granted then
    return { 'limited', remaining, reset }
  end
  for i, want in ipairs(request.wanted) do
    answers[i] = answers[i] or join(request, want.coin, want.currencies, want.id)
  end
  return { 'admitted', remaining, reset, unpack(answers) }
end

-- The request whose arguments begin here, and where they end.
local function read(at)
  local request = { cost = tonumber(ARGV[at]), age = tonumber(ARGV[at + 1]), stale = tonumber(ARGV[at + 2]) }
  request.only_at_hand, request.honour, request.wanted = ARGV[at + 3] == '1', ARGV[at + 4] == '1', {}
  local last = at + 5 + 3 * tonumber(ARGV[at + 5])
  for i = at + 6, last, 3 do
    request.wanted[#request.wanted + 1] =
      { coin = ARGV[i], currencies = currencies_in(ARGV[i + 1]), id = ARGV[i + 2] }
  end
  return request, last
end

local function claim_filled()
  local only = joined[1]
  if ARGV[14] ~= '1' or not only or joined[2] or only.size ~= threshold then
    return {}
  end
  local where = { prefix = KEYS[1], pending = KEYS[5], budget = KEYS[4], feed = KEYS[3], under_way = KEYS[6] }
  where.now, where.terms, where.lease, where.keep = now, terms, tonumber(ARGV[13]), keep
  local characters_left = tonumber(ARGV[12]) - #only.coin - 1
  local answer, takes_any = claiming(where, { { only.id, only.coin, 'threshold' } }, most - 1, characters_left)
  return takes_any and answer or {}
end

local answers, request, last = {}, nil, 14
for i = 7, #KEYS do
  request, last = read(last + 1)
  answers[#answers + 1] = admit(request, KEYS[i])
end
write_joined()
return { now, claim_filled(), unpack(answers) }
