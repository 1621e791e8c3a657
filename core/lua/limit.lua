-- A caller's log of charges, {time, count, time, count, ...}, oldest first, in microseconds, packed into one string.
--
-- Up to 64 charges are kept apart, so small limits are exact. Larger limits are counted in 64 grains a window, each
-- charge as if made at the end of its grain: it is held against the caller up to a 64th of a window too long and never
-- too short, and the log stays at some 65 entries whatever the limit.
--
-- charge(now us, key, limit, window ms, cost) answers: granted, remaining, ms until more is left (if refused: until the cost is).
-- A cost of 0 only looks.
local function charge(now, key, limit, window_ms, cost)
  local window = window_ms * 1000
  local packed = redis.call('GET', key)
  local log = packed and cmsgpack.unpack(packed) or {}
  local kept, used = {}, 0
  for i = 1, #log, 2 do
    if log[i] + window > now then
      kept[#kept + 1], kept[#kept + 2] = log[i], log[i + 1]
      used = used + log[i + 1]
    end
  end
  if used + cost > limit then
    local over, oldest = used + cost - limit, 1
    while kept[oldest + 2] and over > kept[oldest + 1] do
      over, oldest = over - kept[oldest + 1], oldest + 2
    end
    return false, limit - used, math.ceil(((kept[oldest] or now) + window - now) / 1000)
  end
  if cost == 0 then
    return true, limit - used, math.ceil(((kept[1] or now) + window - now) / 1000)
  end
  local stamp = now
  if limit > 64 then
    local grain = math.ceil(window / 64)
    stamp = (math.floor(now / grain) + 1) * grain
  end
  if kept[#kept - 1] == stamp then
    kept[#kept] = kept[#kept] + cost
  else
    kept[#kept + 1], kept[#kept + 2] = stamp, cost
  end
  redis.call('SET', key, cmsgpack.pack(kept), 'PX', math.ceil((stamp + window - now) / 1000))
  return true, limit - used - cost, math.ceil((kept[1] + window - now) / 1000)
end
