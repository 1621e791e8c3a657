"""What processes use, with all their children: CPU and memory, as the system counts them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def family(pid: int) -> Iterator[int]:
    """A process and all that came of it."""
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            for child in (thread / "children").read_text(encoding="ascii").split():
                yield from family(int(child))


def cpu_s(pids: Iterable[int]) -> float:
    """What they have used of the processors, in user mode and for them in the kernel."""
    return sum(_ticks(each) for pid in pids for each in family(pid)) / _TICKS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def rss_bytes(pids: Iterable[int]) -> int:
    """What they hold in memory."""
    return sum(_resident_pages(each) for pid in pids for each in family(pid)) * _PAGE


def _resident_pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
