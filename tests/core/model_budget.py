"""A model of the budget that the Lua scripts keep: core/lua/budget.lua in Python."""

from collections.abc import Callable
from dataclasses import dataclass, field

from core.coordinator import Coordinator
from core.month import month_ends_ms
from core.permits import Called, Permit, Unsure, terms
from core.settings import Settings

TROUBLED = 2


@dataclass
class ModelBudget:
    settings: Settings
    now_ms: Callable[[], int]
    tell_next: Callable[[int], None]  # ms until the next call
    process: int = 1  # which Redis process this is
    run: int | None = None
    next: int = 0
    until: int = 0
    calls: int = 0
    since: int = 0
    trouble: int = 0
    probe: int | None = None
    done: dict[str, int] = field(default_factory=dict)  # {what is done once in a while: until when, ms}

    @property
    def interval(self) -> int:
        return terms(self.settings)[0]

    @property
    def monthly(self) -> int:
        return terms(self.settings)[1]

    @property
    def probe_ms(self) -> int:
        return terms(self.settings)[2]

    def next_call(self) -> int:
        is_used_up = self.monthly and self.calls >= self.monthly
        return max(self.next, self.until) if is_used_up else self.next

    def permit_in(self) -> int | Unsure:
        if (self.interval or self.monthly) and self.run != self.process:
            return "lost"
        if self.until <= self.now_ms():
            return "new month"
        return max(self.next_call() - self.now_ms(), 0)

    def tell(self) -> None:
        self.tell_next(max(self.next_call() - self.now_ms(), 0))

    def take_permit(self) -> None:
        now, troubled = self.now_ms(), self.trouble >= TROUBLED
        if troubled:
            self.probe = now
        if troubled or self.interval or self.monthly:
            self.next = now + max(self.interval, self.probe_ms if troubled else 0)
        self.calls += 1
        if self.calls == self.monthly:
            self.tell()

    def refund(self, claimed_at: int) -> None:
        if claimed_at >= self.since:
            self.calls -= 1
            if self.calls == self.monthly - 1:
                self.tell()

    def learn(self, called: Called, claimed_at: int) -> None:
        if not called.billed:
            self.refund(claimed_at)
        now, before, is_probe = self.now_ms(), self.next, self.probe == claimed_at
        current = self.trouble < TROUBLED or is_probe
        moved = before
        if called.outcome == "limited":
            self.trouble, self.probe = max(self.trouble + 1, TROUBLED), None
            moved = max(before, now + called.wait_s * 1000)
        elif called.outcome == "failed" and current:
            self.trouble += 1
            if self.trouble >= TROUBLED:
                pause = min(self.settings.batch_window_ms, 1000 * 2 ** (self.trouble - TROUBLED))
                moved = max(claimed_at + self.interval if is_probe else before, now + pause)
        elif called.outcome == "answered" and current and self.trouble:
            self.trouble, self.probe = 0, None
            moved = claimed_at + self.interval if is_probe else before
        if moved != before:
            self.next = moved
            self.tell()

    def permit(self, once: str | None, every_ms: int) -> Permit:
        now, calls, wait = self.now_ms(), self.calls, self.permit_in()
        if every_ms and not isinstance(wait, str):
            wait = max(wait, self.done.get(once or "", 0) - now)
        if wait == 0:
            self.take_permit()
            if every_ms:
                self.done[once or ""] = now + every_ms
        return Permit(now, wait, calls)

    def restore(self, until_ms: int, calls: int) -> int:
        if self.run != self.process:
            self.run, self.next = self.process, max(self.next, self.now_ms() + self.interval)
        if self.until != until_ms:
            self.calls, self.until, self.since = 0, until_ms, self.now_ms()
        self.calls = max(calls, self.calls)
        self.tell()
        return self.calls

    def correct(self, calls_then: int, reported: int) -> None:
        if not self.until:
            return
        self.calls = max(self.calls - calls_then + reported, 0)
        self.tell()

    def forget(self) -> None:
        """Redis came back empty."""
        self.process += 1
        self.run, self.next, self.until, self.calls, self.trouble, self.probe = None, 0, 0, 0, 0, None
        self.since = 0
        self.done.clear()


class ModelLedger:
    """What one instance restores the budget from: Postgres, as a test says."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self.calls_in_postgres = 0

    async def restore(self, now_ms: int, *, count_lost: bool) -> int:
        return await self._coordinator.restore(month_ends_ms(now_ms), self.calls_in_postgres if count_lost else 0)
