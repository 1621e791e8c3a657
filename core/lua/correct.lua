-- Sets the month's count to what CoinGecko itself reports, and the calls that were made since it was asked. A budget that
-- was lost meanwhile is left to be restored.
-- KEYS    1 budget  2 feed
-- ARGV    1, 2, 3 terms of the budget  4 our count when it was asked  5 its report
local seen = redis.call('HMGET', KEYS[1], 'calls', 'until')
if not seen[2] then
  return
end
redis.call('HSET', KEYS[1], 'calls', math.max(tonumber(seen[1] or 0) - ARGV[4] + ARGV[5], 0))
tell_next(KEYS[2], KEYS[1], now_ms(), budget_terms(1))
