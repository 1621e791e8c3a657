-- Takes the permit for one upstream call that is no flush, or says when to ask again.
-- KEYS    1 budget  2 what is to be asked only once in a while  3 feed
-- ARGV    1, 2, 3 terms of the budget  4 how long that while is, ms; 0: no matter
-- Answer  {now ms, 0 taken | ms until it may be asked for again | -1 the budget is lost | -2 a new month began,
--         calls of the month}
local now, terms, every = now_ms(), budget_terms(1), tonumber(ARGV[4])
local calls = tonumber(redis.call('HGET', KEYS[1], 'calls') or 0)
local wait = permit_in(KEYS[1], now, terms)
if every > 0 and wait >= 0 then
  wait = math.max(wait, redis.call('PTTL', KEYS[2]))
end
if wait == 0 then
  take_permit(KEYS[1], KEYS[3], now, terms)
  if every > 0 then
    redis.call('SET', KEYS[2], 1, 'PX', every)
  end
end
return { now, wait, calls }
