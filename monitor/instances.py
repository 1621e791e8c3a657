"""One instance, as its messages tell of it, and what it is after one more. Pure.

instance = after(instance, message, now_s)      # unless is_old(instance, message)
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from core.events import Claimed, CoinView, Draining, Flushed, Message, Snapshot, Started, Stopped
from monitor.rows import Condition

SILENT_AFTER_S = 3.0  # instances say a word four times a second
GONE_AFTER_S = 60.0
FORGOTTEN_AFTER_S = 600.0
KEPT_RUNS = 8
KEPT_CLAIMS = 20
# Far more than an upstream call may take: of such a claim the end was lost.
_CLAIMED_FOR_S = 60.0

Said = Literal["up", "draining", "stopped"]


class Claim(msgspec.Struct, frozen=True):
    """A flush that is under way."""

    flush_id: int
    trigger: str
    coins: Sequence[str]  # the first twenty
    batches: int
    heard_s: float


class Instance(msgspec.Struct, frozen=True):
    """One instance, as last heard; its moments are on the monitor's clock."""

    name: str
    heard_s: float
    version: int
    number: int  # of its latest message
    run: int | None  # when its process started, by its own clock: a restarted one counts its messages anew
    runs_before: tuple[int, ...] = ()  # what still comes of these is old
    offset_ms: float = 0.0  # from the monitor's clock to the instance's
    said: Said = "up"
    condition: Condition = "up"  # as last noticed: `condition` tells it as of now
    snapshot: Snapshot | None = None
    snapshot_s: float = 0.0
    uptime_s: float = 0.0  # at its snapshot
    coins: Sequence[CoinView] = ()  # of the latest message that had them
    coins_s: float = 0.0
    lacks_coins: bool = True
    claims: tuple[Claim, ...] = ()  # under way, the oldest first
    gaps: int = 0  # messages that were lost


def condition(instance: Instance, now_s: float) -> Condition:
    """Whether an instance is there."""
    if instance.said == "stopped":
        return "stopped"
    quiet_s = now_s - instance.heard_s
    if quiet_s > GONE_AFTER_S:
        return "gone"
    return "silent" if quiet_s > SILENT_AFTER_S else instance.said


def is_well(instance: Instance, now_s: float) -> bool:
    """Whether what an instance last said is still so."""
    return instance.said != "stopped" and now_s - instance.heard_s <= SILENT_AFTER_S


def is_old(known: Instance, message: Message) -> bool:
    """Whether a message is a repeated or overtaken one, of this run or of one before it.

    Runs are told apart, not compared: the clock of a machine may be set back between two of them.
    """
    run = _run_of(message)
    return run in known.runs_before or (not _is_restarted(known, run) and message.number <= known.number)


def is_restart(known: Instance, message: Message) -> bool:
    """Whether a message is the first that is heard of another run of the instance."""
    return _is_restarted(known, _run_of(message))


def lost_before(known: Instance, message: Message) -> int:
    """How many messages were lost between the latest one and this."""
    return 0 if is_restart(known, message) else message.number - known.number - 1


def after(known: Instance | None, message: Message, now_s: float) -> Instance:
    """The instance after a message that is not old."""
    if known is None:
        known = Instance(message.instance, now_s, message.version, message.number, _run_of(message))
        return _with_snapshot(_with_events(known, message, now_s), message, now_s)
    lost = lost_before(known, message)
    if is_restart(known, message):
        known = _restarted(known)
    run = _run_of(message)
    heard = replace(
        known,
        heard_s=now_s,
        version=message.version,
        number=message.number,
        run=known.run if run is None else run,
        lacks_coins=known.lacks_coins or lost > 0,
        gaps=known.gaps + lost,
    )
    return _with_snapshot(_with_events(heard, message, now_s), message, now_s)


def shifted(instance: Instance, by_s: float, now_s: float) -> Instance:
    """The instance as if it had been heard so much later, though not after now."""
    return replace(
        instance,
        heard_s=min(now_s, instance.heard_s + by_s),
        snapshot_s=min(now_s, instance.snapshot_s + by_s),
        coins_s=min(now_s, instance.coins_s + by_s),
    )


def _run_of(message: Message) -> int | None:
    """Which run of its instance a message is of; without a snapshot it is taken to be of the known one."""
    return message.snapshot.started_at_ms if message.snapshot is not None else None


def _is_restarted(known: Instance, run: int | None) -> bool:
    return run is not None and known.run is not None and run != known.run


def _restarted(known: Instance) -> Instance:
    """The next run of an instance, of which nothing is known yet."""
    before = known.runs_before if known.run is None else (*known.runs_before, known.run)[-KEPT_RUNS:]
    return Instance(known.name, known.heard_s, known.version, 0, None, runs_before=before, gaps=known.gaps)


def _with_events(instance: Instance, message: Message, now_s: float) -> Instance:
    said = instance.said
    claims = [claim for claim in instance.claims if now_s - claim.heard_s <= _CLAIMED_FOR_S]
    for event in message.events:
        match event:
            case Started():
                said = "up"
            case Draining():
                said = "draining"
            case Stopped():
                said = "stopped"
            case Claimed():
                claims.append(Claim(event.flush_id, event.trigger, event.coins, event.batches, now_s))
            case Flushed():
                claims = [claim for claim in claims if claim.flush_id != event.flush_id]
            case _:
                pass
    return replace(instance, said=said, claims=tuple(claims[-KEPT_CLAIMS:]), offset_ms=message.at_ms - now_s * 1000)


def _with_snapshot(instance: Instance, message: Message, now_s: float) -> Instance:
    snapshot = message.snapshot
    if snapshot is None:
        return instance
    said: Said = "draining" if snapshot.draining else "up"
    if any(isinstance(event, Stopped) for event in message.events):
        said = "stopped"
    uptime_s = max(0.0, (message.at_ms - snapshot.started_at_ms) / 1000)
    told = replace(instance, said=said, snapshot=snapshot, snapshot_s=now_s, uptime_s=uptime_s)
    if snapshot.coins is None:
        return told
    return replace(told, coins=snapshot.coins, coins_s=now_s, lacks_coins=False)
