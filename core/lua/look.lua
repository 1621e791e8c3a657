-- Reads what became of batches; changes nothing.
-- KEYS    1 prefix
-- ARGV    1 batch id  2 the next ...
-- Answer  {{'open', batch id, size} | {'held', batch id, ms until the lease ends, 1} | {'settled', batch id, result} |
--         {'gone', batch id} ...}
-- Names   <prefix>:batch:<id>
local now, answer = now_ms(), {}
for i, id in ipairs(ARGV) do
  local seen = redis.call('HMGET', KEYS[1] .. ':batch:' .. id, 'state', 'size', 'lease', 'result')
  if not seen[1] then
    answer[i] = { 'gone', id }
  elseif seen[4] then
    answer[i] = { 'settled', id, seen[4] }
  elseif seen[1] == 'open' then
    answer[i] = { 'open', id, tonumber(seen[2]) }
  else
    answer[i] = { 'held', id, math.max(seen[3] - now, 0), 1 }
  end
end
return answer
