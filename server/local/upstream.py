"""Where the prices of a dev come from: CoinGecko, or our simulator of it."""

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from core.settings import Settings
from server.local.lifetimes import Program, Stop, programs

# -P: a folder called `core` where the command is given must not be taken for ours.
SIMULATE = (sys.executable, "-P", "-m", "simulator", "--port", "0")
_SAYS_WITHIN_S = 20


@dataclass(frozen=True)
class Upstream:
    """What the user is told of it, what the instances are, and the simulator's process."""

    told: str
    settings: Mapping[str, str] = field(default_factory=dict)
    pids: Mapping[str, int] = field(default_factory=dict)


@asynccontextmanager
async def upstream(environment: Mapping[str, str], stop: Stop, *, live: bool) -> AsyncGenerator[Upstream]:
    """CoinGecko when the user wants it or says how to reach it, else a simulator that lives as long as the block."""
    if live or environment.get("COINGECKO_API_KEY") or environment.get("COINGECKO_BASE_URL"):
        base_url = environment.get("COINGECKO_BASE_URL") or Settings.model_fields["coingecko_base_url"].default
        yield Upstream(f"from CoinGecko, {base_url}")
        return
    simulator = Program("the simulator", SIMULATE, environment, says_when_ready=True)
    async with programs([simulator], stop) as [process]:
        url = await _url_of(process, stop)
        told = f"made up by our CoinGecko simulator, {url} (real ones: --live)"
        yield Upstream(told, {"COINGECKO_BASE_URL": url}, {"simulator": process.pid})


async def _url_of(simulator: trio.Process, stop: Stop) -> str:
    said = b""
    with trio.move_on_after(_SAYS_WITHIN_S):
        while b"\n" not in said and simulator.stdout:
            # Nothing: it has ended, of which `stop` hears.
            said += await simulator.stdout.receive_some() or await trio.sleep_forever()
    if b"\n" not in said:
        await stop.here_because(f"the simulator did not say within {_SAYS_WITHIN_S} s where it listens")
    return said.decode().split()[-1]
