"""How many requests came, by route and status: counted where every answer passes, read by whoever tells Prometheus."""

import re
from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, Metric
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


def pattern(rule: Rule) -> str:
    """A route as the documents write it, such as /v1/price/{coinId}."""
    return _VARIABLE.sub(r"{\1}", rule.rule)
