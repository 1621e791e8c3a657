-- Takes the permit for one upstream call, closes batches, and gives the caller the right to flush them until the lease
-- ends; or, if the permit or all batches are gone, takes nothing. As far as there is room, batches that the caller does
-- not know ride along: those whose flusher abandoned them, then open ones, the earliest due first.
-- A batch whose coin has another claimed batch under lease is held back; an abandoned one of the coin is taken over too.
-- KEYS    1 prefix  2 pending  3 budget  4 feed  5 under way
-- ARGV    1, 2, 3 terms of the budget  4 lease ms  5 ms to keep a batch  6 how many more coins there is room for
--         7 how long their ids may be in all, each with a comma  8, 9 batch id:coin, trigger  10, 11 the next ...
-- Answer  {now ms, ms until the next call may be made | -1 the budget is lost | -2 a new month began, calls of the month,
--         {'granted', batch id, coin, trigger, fence, size, currencies, due ms} |
--         {'open', batch id, size} | {'held', batch id, ms until the lease ends, 1 if this batch is the claimed one} |
--         {'settled', batch id, result} | {'gone', batch id} ...}
-- Names   <prefix>:open:<coin>  <prefix>:claimed:<coin>  <prefix>:batch:<id>
local now, terms, lease, keep = now_ms(), budget_terms(1), tonumber(ARGV[4]), tonumber(ARGV[5])
local coins_left, characters_left = tonumber(ARGV[6]), tonumber(ARGV[7])

-- How a batch stands, and whether it may be claimed.
local function look(id, coin)
  local batch = KEYS[1] .. ':batch:' .. id
  local seen = redis.call('HMGET', batch, 'state', 'size', 'result', 'fence', 'currencies', 'due', 'lease')
  local state, size, result, own_lease = seen[1], tonumber(seen[2]), seen[3], tonumber(seen[7])
  if not state then
    redis.call('ZREM', KEYS[2], id .. ':' .. coin)
    redis.call('ZREM', KEYS[5], id .. ':' .. coin)
    return { 'gone', id }
  elseif result then
    return { 'settled', id, result }
  elseif state == 'claimed' and own_lease > now then
    return { 'held', id, own_lease - now, 1 }
  end
  local holder = redis.call('GET', KEYS[1] .. ':claimed:' .. coin)
  local held = holder and redis.call('HGET', KEYS[1] .. ':batch:' .. holder, 'lease')
  if held and tonumber(held) > now then
    return { 'held', id, held - now, state == 'claimed' and 1 or 0 } -- by the coin's batch before or after it
  end
  local claimable = { key = batch, id = id, coin = coin, state = state, size = size, fence = tonumber(seen[4]) }
  claimable.currencies, claimable.due, claimable.abandoned = seen[5], tonumber(seen[6]), held and holder ~= id and holder
  return { 'open', id, size }, claimable
end

local told, under_way, no_longer_pending, no_longer_open = {}, {}, {}, {}

local function grant(batch, trigger)
  local fence, member = batch.fence + 1, batch.id .. ':' .. batch.coin
  redis.call('HSET', batch.key, 'state', 'claimed', 'claimed', now, 'lease', now + lease, 'fence', fence)
  redis.call('PEXPIRE', batch.key, keep)
  redis.call('SET', KEYS[1] .. ':claimed:' .. batch.coin, batch.id, 'PX', keep)
  under_way[#under_way + 1], under_way[#under_way + 2] = now, member
  if batch.state == 'claimed' then
    trigger = 'takeover'
  else
    no_longer_pending[#no_longer_pending + 1] = member
    no_longer_open[#no_longer_open + 1] = KEYS[1] .. ':open:' .. batch.coin
  end
  local is_expected = trigger == 'threshold' or trigger == 'takeover' or trigger == 'window' and batch.due <= now
  if not is_expected then
    told[#told + 1] = batch.id
  end
  return { 'granted', batch.id, batch.coin, trigger, fence, batch.size, batch.currencies, batch.due }
end

local standings, free, proposed, in_call = {}, {}, {}, {}

-- Takes note of how a batch stands; if it may be claimed, it shall be.
local function propose(id, coin, trigger, standing, claimable)
  standings[#standings + 1] = standing
  if claimable then
    claimable.at, claimable.trigger = #standings, trigger
    free[#free + 1] = claimable
    proposed[id] = true
  end
end

local function let_ride(batches)
  for _, batch in ipairs(batches) do
    local id, coin = string.match(batch, '^(.-):(.*)$')
    if not proposed[id] and (in_call[coin] or coins_left > 0 and #coin < characters_left) then
      local standing, claimable = look(id, coin)
      if claimable then
        if not in_call[coin] then
          coins_left, characters_left, in_call[coin] = coins_left - 1, characters_left - #coin - 1, true
        end
        propose(id, coin, 'ride-along', standing, claimable)
      end
    end
  end
end

for i = 8, #ARGV, 2 do
  local id, coin = string.match(ARGV[i], '^(.-):(.*)$')
  in_call[coin] = true
  propose(id, coin, ARGV[i + 1], look(id, coin))
end
local wait = permit_in(KEYS[3], now, terms)
if #free > 0 and wait == 0 then
  take_permit(KEYS[3], KEYS[4], now, terms)
  if coins_left > 0 then
    -- Of those that are read, some are known to the caller, and of some the coin's last call is under way.
    local most = 2 * (#standings + coins_left)
    -- Whoever was claimed later cannot have been abandoned yet.
    let_ride(redis.call('ZRANGEBYSCORE', KEYS[5], '-inf', now - lease, 'LIMIT', 0, most))
    let_ride(redis.call('ZRANGE', KEYS[2], 0, most - 1))
  end
  for _, batch in ipairs(free) do
    if batch.abandoned and not proposed[batch.abandoned] then
      proposed[batch.abandoned] = true
      local _, abandoned = look(batch.abandoned, batch.coin)
      standings[#standings + 1] = grant(abandoned, 'takeover')
    end
    standings[batch.at] = grant(batch, batch.trigger)
  end
  redis.call('ZADD', KEYS[5], unpack(under_way))
  redis.call('PEXPIRE', KEYS[5], keep)
  if #no_longer_open > 0 then
    redis.call('ZREM', KEYS[2], unpack(no_longer_pending))
    redis.call('DEL', unpack(no_longer_open))
  end
  if #told > 0 then
    redis.call('PUBLISH', KEYS[4], cjson.encode({ type = 'claimed', batch_ids = told, lease_ms = lease }))
  end
end
return { now, wait, calls_of_month(KEYS[3]), unpack(standings) }
