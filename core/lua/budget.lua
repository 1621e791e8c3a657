-- The upstream budget, one hash. One number in it says when the next upstream call may be made (`next`, unix ms): the
-- pace, a Retry-After, repeated failure and the end of the month's calls all move it.
--
--   run      the Redis process for which the rest is true: after a restart the last writes may be lost
--   calls    upstream calls of the month that ends at `until` (unix ms), as counted here since `since` (unix ms)
--   trouble  refusals and failures in a row; from 2 on the next call is the probe: nobody else calls until it is back
--   probe    when the probe was let out (unix ms)
--
-- `terms` are {interval ms between calls, most calls a month, ms that a probe may take}, 0 for no limit.
local LOST, NEW_MONTH, TROUBLED = -1, -2, 2

local function budget_terms(first)
  return { interval = tonumber(ARGV[first]), monthly = tonumber(ARGV[first + 1]), probe = tonumber(ARGV[first + 2]) }
end

local function this_run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

-- In how many ms the next call may be made; LOST or NEW_MONTH where the budget must be restored first.
local function permit_in(key, now, terms)
  local seen = redis.call('HMGET', key, 'run', 'next', 'until')
  if (terms.interval > 0 or terms.monthly > 0) and seen[1] ~= this_run() then
    return LOST
  elseif terms.monthly > 0 and tonumber(seen[3] or 0) <= now then
    return NEW_MONTH
  end
  return math.max((tonumber(seen[2]) or 0) - now, 0)
end

-- Sets when the next call may be made: `at`, or the end of the month if that has no calls left.
local function set_next(key, at, terms)
  local seen = redis.call('HMGET', key, 'calls', 'until')
  if terms.monthly > 0 and tonumber(seen[1] or 0) >= terms.monthly then
    at = math.max(at, tonumber(seen[2] or 0))
  end
  redis.call('HSET', key, 'next', at)
  return at
end

local function tell_next(feed, in_ms)
  redis.call('PUBLISH', feed, cjson.encode({ type = 'next_call', in_ms = math.max(in_ms, 0) }))
end

-- Counts one call. Tells everybody if it was the month's last.
local function take_permit(key, feed, now, terms)
  local troubled = tonumber(redis.call('HGET', key, 'trouble') or 0) >= TROUBLED
  if terms.monthly > 0 then
    redis.call('HINCRBY', key, 'calls', 1)
  end
  if troubled then
    redis.call('HSET', key, 'probe', now)
  end
  if troubled or terms.interval > 0 or terms.monthly > 0 then
    local at = now + math.max(terms.interval, troubled and terms.probe or 0)
    local next = set_next(key, at, terms)
    if next > at then
      tell_next(feed, next - now)
    end
  end
end

-- Gives back a call of the month that cost no credit; not one of last month, or of before Redis lost its count.
local function refund(key, feed, now, claimed_at, terms)
  local counted = terms.monthly > 0 and tonumber(claimed_at) >= tonumber(redis.call('HGET', key, 'since') or 0)
  if counted and redis.call('HINCRBY', key, 'calls', -1) == terms.monthly - 1 then
    tell_next(feed, set_next(key, claimed_at + terms.interval, terms) - now)
  end
end
