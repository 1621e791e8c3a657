-- Sets the month's count to what CoinGecko itself reports, and the calls that were made since it was asked. A budget that
-- was lost meanwhile is left to be restored.
-- KEYS    1 budget  2 feed
-- ARGV    1, 2, 3 terms of the budget  4 our count when it was asked  5 its report
-- Answer  the new count
local now, terms = now_ms(), budget_terms(1)
local seen = redis.call('HMGET', KEYS[1], 'calls', 'next', 'until')
if not seen[3] then
  return 0
end
local calls = math.max(tonumber(seen[1] or 0) - tonumber(ARGV[4]) + tonumber(ARGV[5]), 0)
redis.call('HSET', KEYS[1], 'calls', calls)
local next = seen[2] == seen[3] and now + terms.interval or tonumber(seen[2] or 0)
tell_next(KEYS[2], set_next(KEYS[1], next, terms) - now)
return calls
