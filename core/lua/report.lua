-- Takes down what an upstream call that was no flush says of the next one.
-- KEYS    1 budget  2 feed
-- ARGV    1, 2, 3 terms of the budget  4 JSON: the call, as for `learn`
learn(KEYS[1], KEYS[2], now_ms(), budget_terms(1), cjson.decode(ARGV[4]))
