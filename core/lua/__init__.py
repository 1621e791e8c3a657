"""The Lua scripts, as values: source and digest. README.md beside this file says what each makes atomic."""

from hashlib import sha1
from importlib.resources import files
from typing import Final

import msgspec


class Script(msgspec.Struct, frozen=True):
    """One script as Redis gets it."""

    name: str
    source: str
    digest: str


def _load(name: str, *parts: str) -> Script:
    texts = [files(__package__).joinpath(f"{part}.lua").read_text() for part in (*parts, name)]
    source = "\n".join(texts)
    digest = sha1(source.encode(), usedforsecurity=False).hexdigest()  # Redis names scripts by SHA-1
    return Script(name, source, digest)


ADMIT: Final = _load("admit", "time", "limit", "budget", "claiming")
CHARGE: Final = _load("charge", "time", "limit")
OUTLOOK: Final = _load("outlook", "time", "budget")
CLAIM: Final = _load("claim", "time", "budget", "claiming")
RENEW: Final = _load("renew", "time")
RELEASE: Final = _load("release", "time", "budget")
COMPLETE: Final = _load("complete", "time", "budget", "learn")
LOOK: Final = _load("look", "time")
LATEST: Final = _load("latest")
PERMIT: Final = _load("permit", "time", "budget")
REPORT: Final = _load("report", "time", "budget", "learn")
RESTORE: Final = _load("restore", "time", "budget")
CORRECT: Final = _load("correct", "time", "budget")

SCRIPTS: Final = (
    ADMIT,
    CHARGE,
    OUTLOOK,
    CLAIM,
    RENEW,
    RELEASE,
    COMPLETE,
    LOOK,
    LATEST,
    PERMIT,
    REPORT,
    RESTORE,
    CORRECT,
)
