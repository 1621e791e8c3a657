"""The load generator as a child: what it is told, and what is looked at when the measured part begins and ends.

measured = measure(service, Order(...))
measured.cpu_ms_an_answer, measured.load.wait_ms
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.cores import OTHERS
from benchmarks.load import Load, Order, Said
from benchmarks.redis_use import Heard, RedisUse, overheard
from benchmarks.service import Service
from benchmarks.variants import shipped

_GENERATOR = (sys.executable, "-P", "-m", "benchmarks.load")
_REPOSITORY = Path(__file__).parents[1]
_NEARLY_ALL = 0.98
_OVERHEARD_S = 0.5


class _Marks(msgspec.Struct):
    """What was seen at one moment."""

    cpu_s: float
    calls: int
    redis: RedisUse
    rss_bytes: int


class Measured(msgspec.Struct):
    """What a load cost the servers, over the measured part."""

    load: Load
    cpu_s: float
    calls: int
    redis: RedisUse
    rss_idle_bytes: int
    rss_held_bytes: int | None  # hold: at the last look while nearly all waited

    @property
    def cpu_ms_an_answer(self) -> float:
        """Milliseconds of processor time, of all instances."""
        return self.cpu_s * 1000 / max(1, self.load.requests)

    @property
    def answers_a_second(self) -> float:
        """With 200."""
        return self.load.answered / self.load.seconds


def order_for(service: Service, crowd: str, coins: Sequence[str], **how: object) -> Order:
    """An order for its instances, whose users ask as often as the limit as shipped lets them."""
    told: dict[str, object] = {
        "targets": list(service.addresses),
        "coins": list(coins),
        "secret": service.secret,
        "crowd": crowd,
        "requests_a_user": shipped("throttle_global_limit"),
        "core": OTHERS,
        **how,
    }
    return msgspec.convert(told, Order)


def measure(service: Service, order: Order) -> Measured:
    """Send what is ordered, and look at the servers when the measured part begins and ends."""
    # It ends by itself: every wait in it has its end.
    with subprocess.Popen(_GENERATOR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_REPOSITORY) as process:  # noqa: S603 - ours
        assert process.stdin is not None  # noqa: S101 - as asked for above
        assert process.stdout is not None  # noqa: S101 - so was this
        with process.stdin:
            process.stdin.write(msgspec.json.encode(order))
        before, after, held = None, None, None
        for line in process.stdout:
            if b'"requests"' in line:
                load = msgspec.json.decode(line, type=Load)
                break
            said = msgspec.json.decode(line, type=Said)
            if said.what == "begin":
                before = _looked_at(service)
            elif said.what == "end":
                after = _looked_at(service)
            elif said.unanswered >= _NEARLY_ALL * order.connections:
                held = service.rss_bytes()
        else:
            raise GeneratorFailed
    assert before is not None  # noqa: S101 - it says so before its load
    assert after is not None  # noqa: S101
    return Measured(
        load=load,
        cpu_s=after.cpu_s - before.cpu_s,
        calls=after.calls - before.calls,
        redis=after.redis.since(before.redis),
        rss_idle_bytes=before.rss_bytes,
        rss_held_bytes=held,
    )


class GeneratorFailed(Exception):
    """The generator ended without a result; why stands above."""


def _looked_at(service: Service) -> _Marks:
    # The processor first: what comes after it costs the servers nothing.
    return _Marks(service.cpu_s(), service.calls(), service.redis_use(), service.rss_bytes())


def listen(service: Service, order: Order) -> Heard:
    """The same load for a moment, to learn which of Redis' commands were sent."""
    order = msgspec.structs.replace(order, crowd=f"{order.crowd}-heard", warm_up_s=0.0, seconds=_OVERHEARD_S)
    with overheard(service.valkey.port) as heard:
        measure(service, order)
    return heard
