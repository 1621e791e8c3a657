-- Makes the budget one to rely on: for this Redis process, this month, and these settings.
-- After a restart of Redis nobody knows when the last call was made, so a whole interval is waited.
-- KEYS    1 budget  2 feed
-- ARGV    1, 2, 3 terms of the budget  4 when the month ends (unix ms)  5 calls of the month that are known elsewhere
-- Answer  the calls of the month
local now, terms, run = now_ms(), budget_terms(1), this_run()
local seen = redis.call('HMGET', KEYS[1], 'run', 'next', 'until', 'calls')
local calls = tonumber(ARGV[5])
if seen[1] ~= run then
  redis.call('HSET', KEYS[1], 'run', run, 'next', math.max(tonumber(seen[2] or 0), now + terms.interval))
end
if seen[3] == ARGV[4] then
  calls = math.max(calls, tonumber(seen[4] or 0))
else
  redis.call('HSET', KEYS[1], 'until', ARGV[4], 'since', now)
end
redis.call('HSET', KEYS[1], 'calls', calls)
tell_next(KEYS[2], KEYS[1], now, terms)
return calls
