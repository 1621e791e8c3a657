-- Makes the budget one to rely on: for this Redis process, this month, and these settings.
-- After a restart of Redis nobody knows when the last call was made, so a whole interval is waited.
-- KEYS    1 budget  2 feed
-- ARGV    1, 2, 3 terms of the budget  4 when the month ends (unix ms)  5 calls of the month that are known elsewhere
-- Answer  ms until the next call may be made
local now, terms, run = now_ms(), budget_terms(1), this_run()
local seen = redis.call('HMGET', KEYS[1], 'run', 'next', 'until', 'calls')
local next, calls = tonumber(seen[2] or 0), tonumber(ARGV[5])
if seen[3] and seen[2] == seen[3] then
  next = now + terms.interval -- it was put off to the end of the month, for a limit that may have changed
elseif seen[1] ~= run then
  next = math.max(next, now + terms.interval)
end
if seen[3] == ARGV[4] then
  calls = math.max(calls, tonumber(seen[4] or 0))
else
  redis.call('HSET', KEYS[1], 'since', now)
end
redis.call('HSET', KEYS[1], 'run', run, 'until', ARGV[4], 'calls', calls)
next = set_next(KEYS[1], next, terms)
tell_next(KEYS[2], next - now)
return math.max(next - now, 0)
