-- Forgets consumers of the outbox that hold nothing. Looked at and deleted in one step, since deleting a consumer
-- deletes its pending entries too, and nobody would ever read those again.
-- KEYS    1 outbox
-- ARGV    1 group  2 ms that a consumer must have been idle  3 the one consumer to forget, '' for all
-- Answer  how many were forgotten
local forgotten = 0
for _, answer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local consumer = {}
  for i = 1, #answer, 2 do
    consumer[answer[i]] = answer[i + 1]
  end
  local meant = ARGV[3] == '' or ARGV[3] == consumer.name
  if meant and consumer.pending == 0 and consumer.idle >= tonumber(ARGV[2]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], consumer.name)
    forgotten = forgotten + 1
  end
end
return forgotten
