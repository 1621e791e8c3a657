"""How many requests came, by route and status, and how many connections there are, for whoever tells Prometheus."""

import re
from collections import Counter
from collections.abc import Iterator

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from werkzeug.routing import Rule

_VARIABLE = re.compile(r"<(?:[^<>]*:)?(\w+)>")


class Traffic(Collector):
    """One count for each route and status that there was."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, int | None]] = Counter()

    def note(self, route: str, status: int | None) -> None:
        """Count a request; without a status if the server ended before it had one."""
        self._counts[route, status] += 1

    def collect(self) -> Iterator[Metric]:
        """Read the counts."""
        family = CounterMetricFamily("cryptopulse_http_requests", "Requests by HTTP.", labels=("route", "status"))
        for (route, status), times in self._counts.items():
            family.add_metric((route, "none" if status is None else str(status)), times)
        yield family


class Connections(Collector):
    """How many there are, each a task of this nursery, and how many there may be."""

    def __init__(self, nursery: trio.Nursery, most: int) -> None:
        self._nursery = nursery
        self.most = most

    @property
    def count(self) -> int:
        """How many there are, with those that are being refused."""
        return len(self._nursery.child_tasks)

    def collect(self) -> Iterator[Metric]:
        """Count them."""
        yield GaugeMetricFamily("cryptopulse_connections", "Connections that are open now.", self.count)
        yield GaugeMetricFamily("cryptopulse_connections_limit", "MAX_CONNECTIONS.", self.most)


def pattern(rule: Rule) -> str:
    """A route as the documents write it, such as /v1/price/{coinId}."""
    return _VARIABLE.sub(r"{\1}", rule.rule)
