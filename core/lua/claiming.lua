-- Claiming: batches are closed, and the caller gets the right to flush them until the lease ends.
--
-- claiming(where, proposals, coins_left, characters_left) takes the permit for one upstream call for the proposals, each
-- {batch id, coin, trigger}; or, if the permit or all batches are gone, takes nothing. As far as there is room, batches
-- that the caller does not know ride along: those whose flusher abandoned them, then open ones, the earliest due first.
-- A batch whose coin has another claimed batch under lease is held back; an abandoned one of the coin is taken over too.
-- where      {prefix, pending, budget, feed, under_way (names), now (ms), terms (of the budget), lease, keep (ms)}
-- answers    {ms until the next call may be made, or why that is unsure, calls of the month, and each batch as claim.lua
--            tells it}, and whether any was granted
-- Names      <prefix>:open:<coin>  <prefix>:claimed:<coin>  <prefix>:batch:<id>
local function claiming(where, proposals, coins_left, characters_left)
  local now, lease, keep = where.now, where.lease, where.keep

  -- How a batch stands, and whether it may be claimed.
  local function look(id, coin)
    local batch = where.prefix .. ':batch:' .. id
    local seen = redis.call('HMGET', batch, 'state', 'size', 'result', 'fence', 'currencies', 'due', 'lease')
    local state, size, result, own_lease = seen[1], tonumber(seen[2]), seen[3], tonumber(seen[7])
    if not state then
      redis.call('ZREM', where.pending, id .. ':' .. coin)
      redis.call('ZREM', where.under_way, id .. ':' .. coin)
      return { 'gone', id }
    elseif result then
      return { 'settled', id, result }
    elseif state == 'claimed' and own_lease > now then
      return { 'held', id, own_lease - now, 1 }
    end
    local holder = redis.call('GET', where.prefix .. ':claimed:' .. coin)
    local held = holder and redis.call('HGET', where.prefix .. ':batch:' .. holder, 'lease')
    if held and tonumber(held) > now then
      return { 'held', id, held - now, state == 'claimed' and 1 or 0 } -- by the coin's batch before or after it
    end
    local claimable = { key = batch, id = id, coin = coin, state = state, size = size, fence = tonumber(seen[4]) }
    claimable.currencies, claimable.due = seen[5], tonumber(seen[6])
    claimable.abandoned = held and holder ~= id and holder
    return { 'open', id, size }, claimable
  end

  local told, under_way, no_longer_pending, no_longer_open = {}, {}, {}, {}

  local function grant(batch, trigger)
    local fence, member = batch.fence + 1, batch.id .. ':' .. batch.coin
    redis.call('HSET', batch.key, 'state', 'claimed', 'claimed', now, 'lease', now + lease, 'fence', fence)
    redis.call('PEXPIRE', batch.key, keep)
    redis.call('SET', where.prefix .. ':claimed:' .. batch.coin, batch.id, 'PX', keep)
    under_way[#under_way + 1], under_way[#under_way + 2] = now, member
    if batch.state == 'claimed' then
      trigger = 'takeover'
    else
      no_longer_pending[#no_longer_pending + 1] = member
      no_longer_open[#no_longer_open + 1] = where.prefix .. ':open:' .. batch.coin
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

  for _, each in ipairs(proposals) do
    local id, coin, trigger = unpack(each)
    in_call[coin] = true
    propose(id, coin, trigger, look(id, coin))
  end
  local wait = permit_in(where.budget, now, where.terms)
  local takes_any = #free > 0 and wait == 0
  if takes_any then
    take_permit(where.budget, where.feed, now, where.terms)
    if coins_left > 0 then
      -- Of those that are read, some are known to the caller, and of some the coin's last call is under way.
      local most = 2 * (#standings + coins_left)
      -- Whoever was claimed later cannot have been abandoned yet.
      let_ride(redis.call('ZRANGEBYSCORE', where.under_way, '-inf', now - lease, 'LIMIT', 0, most))
      let_ride(redis.call('ZRANGE', where.pending, 0, most - 1))
    end
    for _, batch in ipairs(free) do
      if batch.abandoned and not proposed[batch.abandoned] then
        proposed[batch.abandoned] = true
        local _, abandoned = look(batch.abandoned, batch.coin)
        standings[#standings + 1] = grant(abandoned, 'takeover')
      end
      standings[batch.at] = grant(batch, batch.trigger)
    end
    redis.call('ZADD', where.under_way, unpack(under_way))
    redis.call('PEXPIRE', where.under_way, keep)
    if #no_longer_open > 0 then
      redis.call('ZREM', where.pending, unpack(no_longer_pending))
      redis.call('DEL', unpack(no_longer_open))
    end
    if #told > 0 then
      redis.call('PUBLISH', where.feed, cjson.encode({ type = 'claimed', batch_ids = told, lease_ms = lease }))
    end
  end
  return { wait, calls_of_month(where.budget), unpack(standings) }, takes_any
end
