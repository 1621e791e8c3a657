-- The upstream budget, one hash. One number says when the next upstream call may be made: the pace, a Retry-After and
-- repeated failure move `next` (unix ms), and where the month has no calls left it is the month's end.
--
--   run      the Redis process for which the rest is true: after a restart the last writes may be lost
--   calls    upstream calls of the month that ends at `until` (unix ms), as counted here since `since` (unix ms)
--   trouble  refusals and failures in a row; from 2 on the next call is the probe: nobody else calls until it is back
--   probe    when the probe was let out (unix ms)
--
-- The calls of a month are counted with a limit and without; where there is none, a count that Redis lost is begun anew.
-- `terms` are {interval ms between calls, most calls a month, ms that a probe may take}, 0 for no limit.
local LOST, NEW_MONTH, TROUBLED = -1, -2, 2

local function budget_terms(first)
  return { interval = tonumber(ARGV[first]), monthly = tonumber(ARGV[first + 1]), probe = tonumber(ARGV[first + 2]) }
end

local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- When the next call may be made (unix ms), and whether the upstream is in trouble.
local function next_call(key, terms)
  local seen = redis.call('HMGET', key, 'next', 'calls', 'until', 'trouble')
  local next = tonumber(seen[1] or 0)
  if terms.monthly > 0 and tonumber(seen[2] or 0) >= terms.monthly then
    next = math.max(next, tonumber(seen[3] or 0))
  end
  return next, tonumber(seen[4] or 0) >= TROUBLED
end

-- In how many ms the next call may be made; LOST or NEW_MONTH where the budget must be restored first.
local function permit_in(key, now, terms)
  local seen = redis.call('HMGET', key, 'run', 'until')
  if (terms.interval > 0 or terms.monthly > 0) and seen[1] ~= this_run() then
    return LOST
  elseif tonumber(seen[2] or 0) <= now then
    return NEW_MONTH
  end
  return math.max(next_call(key, terms) - now, 0)
end

local function calls_of_month(key)
  return tonumber(redis.call('HGET', key, 'calls') or 0)
end

local function tell_next(feed, key, now, terms)
  local wait = math.max(next_call(key, terms) - now, 0)
  redis.call('PUBLISH', feed, string.format('{"type":"next_call","in_ms":%.0f,"now_ms":%.0f}', wait, now))
end

-- Counts one call. Tells everybody if it was the month's last.
local function take_permit(key, feed, now, terms)
  local _, troubled = next_call(key, terms)
  if troubled then
    redis.call('HSET', key, 'probe', now)
  end
  if troubled or terms.interval > 0 or terms.monthly > 0 then
    redis.call('HSET', key, 'next', now + math.max(terms.interval, troubled and terms.probe or 0))
  end
  if redis.call('HINCRBY', key, 'calls', 1) == terms.monthly then
    tell_next(feed, key, now, terms)
  end
end

-- Gives back a call of the month that cost no credit; not one of last month, or of before Redis lost its count.
local function refund(key, feed, now, claimed_at, terms)
  local counted = tonumber(claimed_at) >= tonumber(redis.call('HGET', key, 'since') or 0)
  if counted and redis.call('HINCRBY', key, 'calls', -1) == terms.monthly - 1 then
    tell_next(feed, key, now, terms)
  end
end
