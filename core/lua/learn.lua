-- What a call says of the next one: a success of the probe brings it back, a refusal puts it off, and so does failure in
-- a row. A call that cost no credit is given back to the month.
-- `call` is {at (ms, text: when its permit was taken), outcome: 'answered' | 'limited' | 'failed' | 'dropped', billed,
-- wait (ms, if limited), longest (ms after which a failing upstream is asked again at the latest)}.
local function learn(key, feed, now, terms, call)
  if not call.billed then
    refund(key, feed, now, call.at, terms)
  end
  local seen = redis.call('HMGET', key, 'trouble', 'probe', 'next')
  local trouble, is_probe, next = tonumber(seen[1] or 0), seen[2] == call.at, tonumber(seen[3] or 0)
  local current = trouble < TROUBLED or is_probe -- or else an older call, of which nothing new is to be learned
  local moved = next
  if call.outcome == 'limited' then
    redis.call('HSET', key, 'trouble', math.max(trouble + 1, TROUBLED))
    redis.call('HDEL', key, 'probe') -- should one be out, its success does not lift this
    moved = math.max(next, now + call.wait)
  elseif call.outcome == 'failed' and current then
    redis.call('HSET', key, 'trouble', trouble + 1)
    if trouble + 1 >= TROUBLED then
      local pause = math.min(call.longest, 1000 * 2 ^ math.min(trouble + 1 - TROUBLED, 20))
      moved = math.max(is_probe and call.at + terms.interval or next, now + pause)
    end
  elseif call.outcome == 'answered' and current and trouble > 0 then
    redis.call('HDEL', key, 'trouble', 'probe')
    moved = is_probe and call.at + terms.interval or next
  end
  if moved ~= next then
    redis.call('HSET', key, 'next', moved)
    tell_next(feed, key, now, terms)
  end
end
