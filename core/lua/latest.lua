-- Reads the latest prices of coins; changes nothing.
-- KEYS    1 prefix
-- ARGV    1 currencies (`usd,eur`)  2 coin  3 the next ...
-- Answer  {{latest price | nil, one a currency: at:until:size:batch:price}, one a coin}
-- Names   <prefix>:latest:<coin>
local currencies, answer = {}, {}
for currency in string.gmatch(ARGV[1], '[^,]+') do
  currencies[#currencies + 1] = currency
end
for i = 2, #ARGV do
  answer[#answer + 1] = redis.call('HMGET', KEYS[1] .. ':latest:' .. ARGV[i], unpack(currencies))
end
return answer
