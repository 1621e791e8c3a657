"""What only holds on to itself, and is not gone until it is searched for."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def searching() -> Iterator[set[str]]:
    """A block that nobody searches meanwhile; at its end, the names of the types of what is found."""
    found: set[str] = set()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found |= {type(each).__name__ for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
