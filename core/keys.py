"""Every Redis key, channel and stream name, in one place.

All carry one hash tag, so that a script may touch any of them also in a cluster. Lua scripts get PREFIX and add the
same endings: where a script builds a name, its header says which.
"""

PREFIX = "{cryptopulse}"

FEED = f"{PREFIX}:feed"  # channel: batches that are full, results of batches
WATCH = f"{PREFIX}:watch"  # channel: a monitor says that it watches
EVENTS = f"{PREFIX}:events"  # channel: what instances tell monitors
OUTBOX = f"{PREFIX}:outbox"  # stream: fetched prices that Postgres does not have yet
OUTBOX_REFUSED = f"{PREFIX}:outbox:refused"  # stream: what came out of the outbox and is no price, with the reason


def limit_of(caller: str) -> str:
    """Name the log of what one caller was charged. The caller: `user:…` or `login:…`."""
    return f"{PREFIX}:limit:{caller}"
