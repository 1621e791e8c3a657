"""Every Redis key, channel and stream name, in one place.

All carry one hash tag, so that a script may touch any of them also in a cluster. Lua scripts get PREFIX and add the
same endings: where a script builds a name, its header says which.
"""

PREFIX = "{cryptopulse}"

FEED = f"{PREFIX}:feed"  # channel: what happens to batches and to the budget
WATCH = f"{PREFIX}:watch"  # channel: a monitor says that it watches
EVENTS = f"{PREFIX}:events"  # channel: what instances tell monitors
PENDING = f"{PREFIX}:pending"  # sorted set: `<batch id>:<coin>` of every open batch, by when it is due
UNDER_WAY = f"{PREFIX}:under-way"  # sorted set: `<batch id>:<coin>` of every claimed batch, by when it was claimed
BUDGET = f"{PREFIX}:budget"  # hash: when the next upstream call may be made, and how many the month has seen
COIN_LIST = f"{PREFIX}:coin-list"  # string: CoinGecko's list of all coins
OUTBOX = f"{PREFIX}:outbox"  # stream: fetched prices that Postgres does not have yet
OUTBOX_REFUSED = f"{PREFIX}:outbox:refused"  # stream: what came out of the outbox and is no price, with the reason


def limit_of(caller: str) -> str:
    """Name the log of what one caller was charged. The caller: `user:…` or `login:…`."""
    return f"{PREFIX}:limit:{caller}"


def once(name: str) -> str:
    """Name the mark that something was done lately, by any instance."""
    return f"{PREFIX}:once:{name}"
