"""Ids that nobody else makes: 32 hexadecimal digits, as of a UUID.

ids = new_ids()
next(ids)
"""

from collections.abc import Iterator
from itertools import count
from secrets import randbits


def new_ids() -> Iterator[str]:
    """Count from a random number on: to ask the system for randomness each time takes ten times as long."""
    return map("{:032x}".format, count(randbits(127)))
