-- Takes the permit for one upstream call, closes batches, and gives the caller the right to flush them until the lease
-- ends, with what rides along; or, if the permit or all batches are gone, takes nothing.
-- KEYS    1 prefix  2 pending  3 budget  4 feed  5 under way
-- ARGV    1, 2, 3 terms of the budget  4 lease ms  5 ms to keep a batch  6 how many more coins there is room for
--         7 how long their ids may be in all, each with a comma  8, 9 batch id:coin, trigger  10, 11 the next ...
-- Answer  {now ms, ms until the next call may be made | -1 the budget is lost | -2 a new month began, calls of the month,
--         {'granted', batch id, coin, trigger, fence, size, currencies, due ms} |
--         {'open', batch id, size} | {'held', batch id, ms until the lease ends, 1 if this batch is the claimed one} |
--         {'settled', batch id, result} | {'gone', batch id} ...}
local now, proposals = now_ms(), {}
for i = 8, #ARGV, 2 do
  local id, coin = string.match(ARGV[i], '^(.-):(.*)$')
  proposals[#proposals + 1] = { id, coin, ARGV[i + 1] }
end
local where = { prefix = KEYS[1], pending = KEYS[2], budget = KEYS[3], feed = KEYS[4], under_way = KEYS[5] }
where.now, where.terms, where.lease, where.keep = now, budget_terms(1), tonumber(ARGV[4]), tonumber(ARGV[5])
local answer = claiming(where, proposals, tonumber(ARGV[6]), tonumber(ARGV[7]))
return { now, unpack(answer) }
