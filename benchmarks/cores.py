"""Which core does what: servers under test on one, all that they lean on and the generator on the other.

with on_core(SERVERS):
    subprocess.Popen(...)       # children stay where they were born
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def _usable() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


_CORES = _usable()
IS_PINNED = len(_CORES) > 1
SERVERS = _CORES[0] if IS_PINNED else None
OTHERS = _CORES[1] if IS_PINNED else None


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """A block whose processes run on this core only; None: on any."""
    if core is None:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, set(_CORES))
