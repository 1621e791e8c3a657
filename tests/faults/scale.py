"""How much of each fault a long run has: RUNS kills at each moment, all else in proportion; SEED replays it.

RUNS=50 are the figures that docs quote; without it a run takes some 35 minutes. A limit of calls a minute shows itself
in minutes, so what tests it runs for OVERLOAD_S seconds instead: 600 for docs.
"""

import os
from random import Random, SystemRandom

RUNS = int(os.environ.get("RUNS") or 15)
SEED = int(os.environ.get("SEED") or SystemRandom().randrange(10**6))
OVERLOAD_S = float(os.environ.get("OVERLOAD_S") or 60)

KILLS = RUNS
STALLS = 2 * RUNS
BURSTS = 20 * RUNS
FAULTS_AT_ONCE = RUNS
OUTAGES_OF_EACH = max(1, RUNS * 2 // 5)
ROLLING_RESTARTS = max(1, RUNS * 2 // 5)


def random_for(what: str) -> Random:
    """A generator that depends on the seed and on what it is for; says how to get the same again."""
    print(f"\n{what}: SEED={SEED} RUNS={RUNS} OVERLOAD_S={OVERLOAD_S:g}")  # noqa: T201 - pytest shows it if the test fails
    return Random(f"{SEED} {what}")
