"""CoinGecko's limit a minute, over all callers together."""

import math
from collections import deque

WINDOW_S = 60


class SlidingWindow:
    """Counts the calls of the last minute. A refused call is not counted, so waiting as told always helps."""

    def __init__(self) -> None:
        self._let_in: deque[float] = deque()

    def __repr__(self) -> str:
        return f"<SlidingWindow {len(self._let_in)} in the last {WINDOW_S}s>"

    def charge(self, now: float, limit: int) -> int:
        """Count a call and return 0, or return in how many whole seconds one is let in again.

        `now` is a monotonic instant in seconds; a limit of 0 lets everybody in.
        """
        self._forget_before(now - WINDOW_S)
        if limit and len(self._let_in) >= limit:
            return max(1, math.ceil(self._let_in[-limit] + WINDOW_S - now))
        self._let_in.append(now)
        return 0

    def clear(self) -> None:
        """Forget every call."""
        self._let_in.clear()

    def _forget_before(self, instant: float) -> None:
        while self._let_in and self._let_in[0] <= instant:
            self._let_in.popleft()
