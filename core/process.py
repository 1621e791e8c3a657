"""This process, as the system tells of it."""

import gc
import os
from pathlib import Path

_STATM = Path("/proc/self/statm")  # in pages: size, resident, ...


def collect_garbage_seldom() -> None:
    """Look for garbage a tenth as often, and never again at what is there now.

    What comes and goes here by the thousand a second, requests and rows, is no garbage that needs finding; looking for
    it took 50 ms and more at a time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 50)


def resident_bytes() -> int:
    """How much memory the process holds; 0 where the system does not tell."""
    try:
        _size, resident, *_ = _STATM.read_bytes().split()
    except OSError:
        return 0
    return int(resident) * os.sysconf("SC_PAGE_SIZE")
