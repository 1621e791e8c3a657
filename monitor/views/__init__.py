"""The state at one moment, merged over all instances: what there is to show, not how. Pure.

rows = batches(state, now_s)        # in an order that stays: whoever shows them sorts
"""

from monitor.state import shown_s, wall_ms
from monitor.views.batches import batches
from monitor.views.boxes import budget, header, latency, saving
from monitor.views.coins import coins
from monitor.views.lists import callers, events, flushed_batches, flushes, instances

__all__ = [
    "batches",
    "budget",
    "callers",
    "coins",
    "events",
    "flushed_batches",
    "flushes",
    "header",
    "instances",
    "latency",
    "saving",
    "shown_s",
    "wall_ms",
]
