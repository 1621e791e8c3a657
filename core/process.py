"""This process, as the system tells of it."""

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")  # in pages: size, resident, ...


def resident_bytes() -> int:
    """How much memory the process holds; 0 where the system does not tell."""
    try:
        _size, resident, *_ = _STATM.read_bytes().split()
    except OSError:
        return 0
    return int(resident) * os.sysconf("SC_PAGE_SIZE")
