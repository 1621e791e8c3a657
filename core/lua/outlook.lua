-- Reads when the next upstream call may be made; changes nothing.
-- KEYS    1 budget
-- ARGV    1, 2, 3 terms of the budget
-- Answer  {now ms, ms until the next call | -1 the budget is lost | -2 a new month began, calls of the month}
local now = now_ms()
return { now, permit_in(KEYS[1], now, budget_terms(1)), calls_of_month(KEYS[1]) }
