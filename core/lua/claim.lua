-- Closes batches and gives the caller the right to flush them, until the lease ends.
-- A batch whose coin has another claimed batch under lease is held back; an abandoned one of the coin is taken over too.
-- KEYS    1 prefix
-- ARGV    1 lease ms  2 ms to keep a batch  3, 4 batch id, trigger  5, 6 the next ...
-- Answer  {now ms, {'granted', batch id, coin, trigger, fence, size, currencies} | {'held', batch id, ms until the
--         lease ends, 1 if this batch is the claimed one} | {'settled', batch id, result} | {'gone', batch id} ...}
-- Names   <prefix>:open:<coin>  <prefix>:claimed:<coin>  <prefix>:batch:<id>
local now, lease, keep = now_ms(), tonumber(ARGV[1]), tonumber(ARGV[2])

local function grant(id, coin, trigger)
  local batch = KEYS[1] .. ':batch:' .. id
  local fence = redis.call('HINCRBY', batch, 'fence', 1)
  redis.call('HSET', batch, 'state', 'claimed', 'claimed', now, 'lease', now + lease)
  redis.call('PEXPIRE', batch, keep)
  redis.call('SET', KEYS[1] .. ':claimed:' .. coin, id, 'PX', keep)
  local seen = redis.call('HMGET', batch, 'size', 'currencies')
  return { 'granted', id, coin, trigger, fence, tonumber(seen[1]), seen[2] }
end

local answer = { now }
for i = 3, #ARGV, 2 do
  local id, trigger = ARGV[i], ARGV[i + 1]
  local seen = redis.call('HMGET', KEYS[1] .. ':batch:' .. id, 'state', 'coin', 'result')
  local state, coin, result = seen[1], seen[2], seen[3]
  if not state then
    answer[#answer + 1] = { 'gone', id }
  elseif result then
    answer[#answer + 1] = { 'settled', id, result }
  else
    local holder = redis.call('GET', KEYS[1] .. ':claimed:' .. coin)
    local held = holder and redis.call('HGET', KEYS[1] .. ':batch:' .. holder, 'lease')
    if held and tonumber(held) > now then
      answer[#answer + 1] = { 'held', id, held - now, state == 'claimed' and 1 or 0 }
    else
      if held and holder ~= id then
        answer[#answer + 1] = grant(holder, coin, 'takeover')
      end
      answer[#answer + 1] = grant(id, coin, state == 'open' and trigger or 'takeover')
      if state == 'open' then
        -- Last: a Redis that is out of memory refuses the first write of a script, unless it frees some.
        redis.call('DEL', KEYS[1] .. ':open:' .. coin)
      end
    end
  end
end
return answer
