-- Charges a caller for one request.
-- KEYS    1 prefix  2 the caller's log
-- ARGV    1 limit  2 window ms
-- Answer  {1 granted | 0 refused, remaining, ms until more is left}
local granted, remaining, reset = charge(now_us(), KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), 1)
return { granted and 1 or 0, remaining, reset }
