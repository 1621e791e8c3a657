"""The checker finds each broken promise in a history made to break it, and none where none is broken."""

from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.faults.checker import Promise, duplicate_claims, violations
from tests.faults.history import (
    Bounds,
    Call,
    Claim,
    Completion,
    Emptied,
    End,
    History,
    Opening,
    Request,
    Row,
    Stall,
    read,
    write,
)

FETCHED_AT_MS = 1_700_000_000_123
FETCHED_AT = "2023-11-14T22:13:20.123Z"


def request(number: int, **changes: Any) -> Request:
    """A request that is answered well."""
    return replace(
        Request(
            number=number,
            instance="a1",
            user=f"user-{number}",
            coin="bitcoin",
            currency="usd",
            sent_at=10.0 + number / 10,
            ended_at=11.0,
            status=200,
            answers=1,
            echo=number,
            about=("bitcoin", "usd"),
            batch_id="b1",
            size=3,
            trigger="threshold",
            price=Decimal("1.01"),
            fetched_at=FETCHED_AT,
        ),
        **changes,
    )


def call(**changes: Any) -> Call:
    return replace(Call(number=1, at=10.5, prices={"bitcoin": {"usd": Decimal("1.01")}}), **changes)


def claim(**changes: Any) -> Claim:
    first = Claim(
        at=10.4, redis_ms=FETCHED_AT_MS, instance="a1", batch_id="b1", coin="bitcoin", trigger="threshold", fence=1
    )
    return replace(first, **changes)


def completion(**changes: Any) -> Completion:
    first = Completion(
        sent_at=10.9,
        instance="a1",
        batch_id="b1",
        coin="bitcoin",
        fence=1,
        fetched_at_ms=FETCHED_AT_MS,
        prices={"usd": Decimal("1.01")},
        accepted=True,
    )
    return replace(first, **changes)


def row(**changes: Any) -> Row:
    first = Row(batch_id="b1", coin="bitcoin", currency="usd", price=Decimal("1.010"), fetched_at=FETCHED_AT)
    return replace(first, **changes)


def history(**changes: Any) -> History:
    """Three requests, one batch, one call, one row; with these changes."""
    good = History(
        bounds=Bounds(limit=20),
        requests=(request(1), request(2), request(3)),
        calls=(call(),),
        claims=(claim(),),
        completions=(completion(),),
        rows=(row(),),
    )
    return replace(good, **{name: tuple(those) for name, those in changes.items()})


def paced(calls_at: Iterable[float], permits_ms: Iterable[int]) -> History:
    """Calls at these times, of which two are allowed in a minute, and a permit at each of those; nobody waited."""
    return History(
        bounds=Bounds(limit=20, calls_per_minute=2),
        calls=tuple(Call(number=number, at=at, prices={}) for number, at in enumerate(calls_at, 1)),
        claims=tuple(claim(batch_id=f"b{at}", redis_ms=FETCHED_AT_MS + at) for at in permits_ms),
    )


CLAIMED_TWICE = [claim(), claim(at=12.0, redis_ms=FETCHED_AT_MS + 1500, instance="b1", fence=2)]
TAKEN_OVER: dict[str, Iterable[Any]] = {
    "claims": CLAIMED_TWICE,
    "completions": [completion(accepted=False), completion(instance="b1", fence=2)],
}

GOOD: dict[str, History] = {
    "nothing happens": History(bounds=Bounds(limit=20)),
    "a batch is answered": history(),
    "a batch is taken over, and the late result refused": history(**TAKEN_OVER),
    "claims are seen in another order than Redis granted them": history(
        **TAKEN_OVER | {"claims": [replace(one, at=-one.at) for one in CLAIMED_TWICE]}
    ),
    "a killed instance leaves its clients without an answer": history(
        requests=[request(1, status=None, answers=0, price=None, mishap="closed")],
        ends=[End(at=10.8, instance="a1", how="killed")],
    ),
    "a stopped instance answers as much later as it was stopped": history(
        requests=[request(1, ended_at=10.1 + 9 + 2 + 5)],
        stalls=[Stall(instance="a1", began_at=11, ended_at=16)],
    ),
    "an answered price is lost with the memory of Redis": history(rows=[], emptied=[Emptied(at=11.5)]),
    "a completion whose answer nobody saw": history(completions=[completion(accepted=None)]),
    "a user has as many requests as are allowed, twice": history(
        requests=[
            request(number, user="ann", sent_at=at, ended_at=at + 1, status=404, price=None)
            for number, at in [(place, 100 * (place // 20) + place / 100) for place in range(40)]
        ],
    ),
    "as many calls as are allowed, a minute after a minute": paced([0, 31, 60, 91], [0, 30_500, 61_000, 91_500]),
    "a permit that nobody used": paced([0, 61], [0, 30_500, 61_000]),
    "two batches in one call": replace(
        paced([0], []), claims=(claim(), claim(batch_id="b2", coin="tron", trigger="ride-along"))
    ),
    "a user may send more after Redis lost its memory": history(
        requests=[request(n, user="ann", ended_at=20, status=404, price=None) for n in range(40)],
        emptied=[Emptied(at=12)],
    ),
}

R1, R2, R3 = request(1), request(2), request(3)
BAD: dict[str, tuple[set[Promise], History]] = {
    "two prices in one batch": (
        {Promise.ONE_RESULT, Promise.KEPT_ONCE},
        history(
            requests=[R1, request(2, price=Decimal(2))],
            calls=[call(), call(number=2, prices={"bitcoin": {"usd": Decimal(2)}})],
            rows=[row()],
        ),
    ),
    "two times of fetch in one batch": (
        {Promise.ONE_RESULT, Promise.KEPT_ONCE},
        history(requests=[R1, request(2, fetched_at="later")]),
    ),
    "more answers than the batch admitted": ({Promise.ONE_RESULT}, history(requests=[R1, R2, R3, request(4)])),
    "a price that nobody gave": (
        {Promise.FRESH, Promise.KEPT_ONCE},
        history(calls=[call(prices={"bitcoin": {"eur": Decimal("1.01")}})]),
    ),
    "a price from before the request": ({Promise.FRESH}, history(requests=[R1, request(2, sent_at=10.6)])),
    "a price from after the answer": ({Promise.FRESH}, history(calls=[call(at=11.1)])),
    "a request that still waits": (
        {Promise.ONE_ANSWER},
        history(requests=[R1, request(2, status=None, answers=0, price=None, ended_at=None)]),
    ),
    "a client that gave up": (
        {Promise.ONE_ANSWER},
        history(
            requests=[R1, request(2, status=None, answers=0, price=None, mishap="given up")],
            ends=[End(at=10.8, instance="a1", how="killed")],
        ),
    ),
    "a living instance that closes without an answer": (
        {Promise.ONE_ANSWER},
        history(requests=[R1, request(2, status=None, answers=0, price=None, mishap="closed")]),
    ),
    "two answers": ({Promise.ONE_ANSWER}, history(requests=[R1, request(2, answers=2)])),
    "an answer about another coin": ({Promise.ONE_ANSWER}, history(requests=[R1, request(2, about=("tron", "usd"))])),
    "another request's answer": ({Promise.ONE_ANSWER}, history(requests=[R1, request(2, echo=1)])),
    "an answer too late": ({Promise.ONE_ANSWER}, history(requests=[R1, request(2, ended_at=10.2 + 9 + 2.1)])),
    "an answer too late, though another instance was stopped": (
        {Promise.ONE_ANSWER},
        history(
            requests=[request(1, ended_at=10.1 + 9 + 2.1)], stalls=[Stall(instance="b1", began_at=11, ended_at=16)]
        ),
    ),
    "an answered price that Postgres has not": ({Promise.KEPT_ONCE}, history(rows=[], completions=[])),
    "an accepted price that Postgres has not": ({Promise.KEPT_ONCE}, history(rows=[], requests=[])),
    "an answered price that Postgres has otherwise": (
        {Promise.KEPT_ONCE},
        history(rows=[row(price=Decimal(2))], calls=[call(), call(prices={"bitcoin": {"usd": Decimal(2)}})]),
    ),
    "a price twice in Postgres": ({Promise.KEPT_ONCE}, history(rows=[row(), row()])),
    "a price kept at two times": ({Promise.KEPT_ONCE}, history(rows=[row(), row(fetched_at="later")])),
    "a row that no call gave": ({Promise.KEPT_ONCE}, history(rows=[row(), row(batch_id="b2", price=Decimal(7))])),
    "a price lost before Redis lost its memory again": (
        {Promise.KEPT_ONCE},
        history(rows=[], emptied=[Emptied(at=10.0)]),
    ),
    "a fencing token granted twice": (
        {Promise.FENCED},
        history(claims=[claim(), claim(redis_ms=FETCHED_AT_MS + 1, instance="b1")]),
    ),
    "a fencing token that falls": (
        {Promise.FENCED},
        history(claims=[claim(fence=2), claim(redis_ms=FETCHED_AT_MS + 1)], completions=[completion(fence=2)]),
    ),
    "a stale result that is accepted": (
        {Promise.FENCED},
        history(**TAKEN_OVER | {"completions": [completion(), completion(instance="b1", fence=2, accepted=False)]}),
    ),
    "two accepted results": (
        {Promise.FENCED},
        history(**TAKEN_OVER | {"completions": [completion(), completion(instance="b1", fence=2)]}),
    ),
    "more calls than are allowed in 60 s": ({Promise.WITHIN_BUDGET}, paced([0, 30, 59.9], [0, 30_000, 60_000])),
    "a call without a permit": ({Promise.WITHIN_BUDGET}, paced([0, 31], [0])),
    "permits too close to each other": ({Promise.WITHIN_BUDGET}, paced([0], [0, 29_999])),
    "a user over the limit": (
        {Promise.LIMITED},
        history(
            requests=[
                request(n, user="ann", sent_at=10 + n, ended_at=11 + n, status=404, price=None) for n in range(21)
            ]
        ),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_found_where_nothing_is_wrong(name: str) -> None:
    assert violations(GOOD[name]) == []


@pytest.mark.parametrize("name", BAD)
def test_each_broken_promise_is_found_and_named(name: str) -> None:
    promises, broken = BAD[name]
    assert {violation.promise for violation in violations(broken)} == promises


def test_a_violation_says_where_when_and_how() -> None:
    (violation,) = violations(history(requests=[R1, request(2, answers=2)]))
    assert str(violation) == (
        "11.000 request 2 of user-2 at a1 for bitcoin: more than one answer, or another's "
        "(promised: one answer a request, in time)"
    )


def test_violations_come_in_the_order_of_time() -> None:
    late, later = request(2, ended_at=30.0), request(3, ended_at=40.0)
    assert [violation.at for violation in violations(history(requests=[later, R1, late]))] == [30.0, 40.0]


def test_claims_beyond_one_a_batch_are_counted() -> None:
    assert (duplicate_claims(history()), duplicate_claims(history(**TAKEN_OVER))) == (0, 1)


@pytest.mark.parametrize("name", GOOD)
def test_a_history_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    whole = replace(GOOD[name], openings=(Opening(redis_ms=FETCHED_AT_MS, instance="a1", batch_id="b1"),))
    write(whole, tmp_path / "history.jsonl")
    assert read(tmp_path / "history.jsonl") == whole
