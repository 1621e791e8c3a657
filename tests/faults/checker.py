"""Which promise a recorded history breaks, where and when; pure.

    for violation in violations(history):
        print(violation)

Every check is sound: what it reports cannot be explained by when things were seen. What each one means exactly stands
in its docstring.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

import msgspec

from tests.faults.evidence import allowed_s, givers_in, grouped, is_excused, permits_in, prices_due
from tests.faults.history import Claim, History, Request

# Nothing but an admission, which charges, leads to these.
_CHARGED = {200, 404, 502, 504}
_MINUTE_S = 60.0


class Promise(StrEnum):
    """What was promised."""

    ONE_RESULT = "one accepted result a batch"
    FRESH = "a price that the upstream gave, in a call after the request"
    ONE_ANSWER = "one answer a request, in time"
    KEPT_ONCE = "every price in Postgres exactly once"
    FENCED = "fencing tokens only grow, and only the latest completes"
    LIMITED = "nobody over the limit"
    WITHIN_BUDGET = "no more upstream calls than the budget allows"


class Violation(msgspec.Struct, frozen=True):
    """A broken promise: where, when (on the history's clock) and how."""

    promise: Promise
    where: str
    at: float
    what: str

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.where}: {self.what} (promised: {self.promise})"


def violations(history: History) -> list[Violation]:
    """Every broken promise, in the order of time."""
    found = [violation for check in _CHECKS for violation in check(history)]
    return sorted(found, key=lambda violation: violation.at)


def _one_result(history: History) -> Iterator[Violation]:
    """All answers of a batch tell the same coin and time of fetch, the same price in each currency, and are no more
    than the batch admitted.
    """
    for batch_id, answers in grouped(history.answered, lambda request: request.batch_id).items():
        at, where = _latest(answers), f"batch {batch_id}"
        if len({(request.coin, request.fetched_at) for request in answers}) > 1:
            yield Violation(Promise.ONE_RESULT, where, at, "answers of different coins or times of fetch")
        for currency, same in grouped(answers, lambda request: request.currency).items():
            if len({request.price for request in same}) > 1:
                yield Violation(Promise.ONE_RESULT, where, at, f"more than one price in {currency}")
        if len(answers) > max(request.size for request in answers):
            yield Violation(Promise.ONE_RESULT, where, at, f"{len(answers)} answers, more than were admitted")


def _fresh(history: History) -> Iterator[Violation]:
    """A price stems from a call that reached the upstream at or after the instant at which the request was sent, and
    before its answer. (The admission lies between the two, so a call between sending and admission is not found.)
    """
    givers = givers_in(history.calls)
    for request in history.answered:
        where = _where(request)
        calls = givers.get((request.coin, request.currency, request.price), [])
        at = request.ended_at or request.sent_at
        if not calls:
            yield Violation(Promise.FRESH, where, at, f"no call gave {request.price} {request.currency}")
        elif not any(request.sent_at <= call.at <= at for call in calls):
            what = f"its price was given by call {calls[0].number}, {request.sent_at - calls[0].at:.3f} s before it"
            yield Violation(Promise.FRESH, where, at, what)


def _one_answer(history: History) -> Iterator[Violation]:
    """A request ends with exactly one answer, its own, no later than was promised: the admission's second, the result
    timeout, and the stated patience; the time in which its instance was stopped does not count. Without an answer it
    may only end at an instance that was ended on purpose.
    """
    ended = {end.instance for end in history.ends}
    for request in history.requests:
        where, at = _where(request), request.ended_at or request.sent_at
        if request.answers > 1 or (request.status is not None and request.echo != request.number):
            yield Violation(Promise.ONE_ANSWER, where, at, "more than one answer, or another's")
        if request.price is not None and request.about != (request.coin, request.currency):
            yield Violation(Promise.ONE_ANSWER, where, at, f"an answer about {request.about}")
        if request.status is None and (request.instance not in ended or request.mishap in {"", "given up"}):
            yield Violation(Promise.ONE_ANSWER, where, at, f"no answer ({request.mishap or 'still waiting'})")
        late_s = request.took_s - allowed_s(history, request)
        if request.status is not None and late_s > 0:
            yield Violation(Promise.ONE_ANSWER, where, at, f"answered {request.status}, {late_s:.3f} s too late")


def _kept_once(history: History) -> Iterator[Violation]:
    """What answered somebody or was accepted from a flusher is in Postgres once: by batch and currency, with that price
    and time of fetch. Nothing is there twice, and nothing that no call gave. What a Redis that lost its memory may
    have held when it did so is excused.
    """
    rows = grouped(history.rows, lambda row: (row.batch_id, row.currency))
    givers = givers_in(history.calls)
    for (batch_id, currency), same in rows.items():
        if len(same) > 1:
            what = f"{len(same)} rows in {currency}, at {', '.join(row.fetched_at for row in same)}"
            yield Violation(Promise.KEPT_ONCE, f"batch {batch_id}", 0.0, what)
        for row in same:
            if (row.coin, row.currency, row.price) not in givers:
                what = f"a row of {row.price} {row.currency} that no call gave"
                yield Violation(Promise.KEPT_ONCE, f"batch {batch_id}", 0.0, what)
    for due in sorted(prices_due(history)):
        kept = {(row.price, row.fetched_at) for row in rows.get((due.batch_id, due.currency), [])}
        if kept != {(due.price, due.fetched_at)} and not is_excused(history, due.batch_id):
            what = f"{due.price} {due.currency} of {due.fetched_at} is due in Postgres, which has {_told(kept)}"
            yield Violation(Promise.KEPT_ONCE, f"batch {due.batch_id}", due.at, what)


def _fenced(history: History) -> Iterator[Violation]:
    """The claims of a batch, by Redis' clock, have growing fencing tokens; and all completions that Redis accepted
    carry the highest of them.
    """
    claims = grouped(history.claims, lambda claim: claim.batch_id)
    for batch_id, those in claims.items():
        in_order = sorted(those, key=lambda claim: (claim.redis_ms, claim.fence))
        for earlier, later in pairwise(in_order):
            if later.fence <= earlier.fence:
                what = f"{_who(later)} after {_who(earlier)}"
                yield Violation(Promise.FENCED, f"batch {batch_id}", later.at, what)
    for done in history.completions:
        highest = max((claim.fence for claim in claims.get(done.batch_id, [])), default=0)
        if done.accepted and done.fence != highest:
            what = f"{done.instance} completed with {done.fence}, the highest token was {highest}"
            yield Violation(Promise.FENCED, f"batch {done.batch_id}", done.sent_at, what)


def _limited(history: History) -> Iterator[Violation]:
    """In no span as long as the limit's window lie more whole requests of one user that were charged for certain,
    unless Redis lost its memory in that span.
    """
    bounds = history.bounds
    for user, requests in grouped(history.requests, lambda request: request.user).items():
        charged = [(one.sent_at, one.ended_at) for one in requests if one.status in _CHARGED and one.ended_at]
        for begins, _ in sorted(charged):
            ends = begins + bounds.limit_window_s
            inside = sum(begins <= sent and ended < ends for sent, ended in charged)
            forgotten = any(begins <= emptied.at < ends for emptied in history.emptied)
            if inside > bounds.limit and not forgotten:
                what = f"{inside} requests admitted within {bounds.limit_window_s:g} s, {bounds.limit} are allowed"
                yield Violation(Promise.LIMITED, user, begins, what)
                break


def _within_budget(history: History) -> Iterator[Violation]:
    """Where calls are limited, the upstream has seen no more of them in any 60 s, whatever it answered; each had a
    permit of its own; and no two permits are closer than evenly spaced ones, by Redis' clock.
    """
    most = history.bounds.calls_per_minute
    if most is None:
        return
    calls, permits = sorted(history.calls, key=lambda call: call.at), permits_in(history)
    for first, one_too_many in zip(calls, calls[most:], strict=False):
        if (span_s := one_too_many.at - first.at) < _MINUTE_S:
            what = f"{most + 1} calls within {span_s:.3f} s, {most} are allowed in {_MINUTE_S:g}"
            yield Violation(Promise.WITHIN_BUDGET, f"call {one_too_many.number}", one_too_many.at, what)
    if len(calls) > len(permits):
        what = f"{len(calls)} calls with {len(permits)} permits"
        yield Violation(Promise.WITHIN_BUDGET, "upstream", calls[-1].at, what)
    for earlier_ms, later_ms in pairwise(permits):
        if (later_ms - earlier_ms) * most < _MINUTE_S * 1000:
            at = next(claim.at for claim in history.claims if claim.redis_ms == later_ms)
            what = f"a permit {later_ms - earlier_ms} ms after the one before it"
            yield Violation(Promise.WITHIN_BUDGET, "budget", at, what)


_CHECKS: Sequence[Callable[[History], Iterable[Violation]]] = (
    _one_result,
    _fresh,
    _one_answer,
    _kept_once,
    _fenced,
    _limited,
    _within_budget,
)


def _latest(requests: Iterable[Request]) -> float:
    return max(request.ended_at or request.sent_at for request in requests)


def _where(request: Request) -> str:
    return f"request {request.number} of {request.user} at {request.instance} for {request.coin}"


def _who(claim: Claim) -> str:
    return f"{claim.instance} with {claim.fence}"


def _told(kept: Iterable[tuple[Decimal, str]]) -> str:
    return ", ".join(f"{price} of {fetched_at}" for price, fetched_at in kept) or "nothing"


def duplicate_claims(history: History) -> int:
    """How many claims there were beyond one a batch."""
    return sum(count - 1 for count in Counter(claim.batch_id for claim in history.claims).values())
