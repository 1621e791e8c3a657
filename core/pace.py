"""The month's pace: where the calls of the month will end, if they go on like this. Warned of, never enforced."""

import structlog

from core.month import projected

_log = structlog.get_logger(__name__)


class MonthPace:
    """What this instance last heard of the month's calls; says so in the log when they come to outrun the limit."""

    def __init__(self, limit: int | None) -> None:
        self.calls = 0
        self.projected = 0
        self._limit = limit
        self._outruns = False

    def note(self, calls: int, now_ms: int) -> None:
        """Take notice of the month's calls; `now_ms` is unix time, by Redis' clock."""
        self.calls, self.projected = calls, projected(calls, now_ms)
        outruns = self._limit is not None and self.projected > self._limit
        if outruns and not self._outruns:
            _log.warning("the month's calls will not last", calls=calls, projected=self.projected, limit=self._limit)
        self._outruns = outruns
