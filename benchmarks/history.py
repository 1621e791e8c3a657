"""How long reading the history takes when much is in it, and how much room it takes.

    python -m benchmarks.history                  # 10,000,000 prices of 500 coins over 14 months, some minutes to load
    python -m benchmarks.history --rows 1000000

A real Postgres, as shipped, is filled by itself in a temporary folder, and then asked through core/history.py, one
question after the other, each about another coin. Time is from the question to its answer in this process: the pool,
trio-asyncio, Postgres, and back; neither HTTP nor the caller's limit.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles
from tempfile import TemporaryDirectory

import click
import trio
import trio_asyncio

from benchmarks.machine import this_machine
from core.candles import stretch_of
from core.history import Cursor, History
from core.migrate import upgrade
from core.postgres import Postgres, open_postgres
from server.local import running_postgres

_MONTHS = 14
_WARM_UP = 10  # the first questions connect, and have their statements prepared
_LOAD_S = 3600.0  # for one month of prices, at the most

_NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
_BEGIN = datetime(2025, 10, 1, tzinfo=UTC)
_A_YEAR_BACK = _NOW - timedelta(days=365)

# A price a step, the coins in turn, each at its own walk around its own level.
_LOAD = """
    INSERT INTO prices (batch_id, coin_id, vs_currency, price, fetched_at)
    SELECT
        gen_random_uuid(), 'coin-' || n % $3::int, 'usd',
        round((100 * (1 + n % $3::int) * (1 + 0.2 * sin(n / 1e6)) + random())::numeric, 8),
        $4::timestamptz + n * $5::interval
    FROM generate_series($1::bigint, $2::bigint - 1) AS n
"""
_ENSURE = "SELECT ensure_prices_partition($1)"
_SIZES = """
    SELECT sum(pg_table_size(inhrelid))::bigint AS rows, sum(pg_indexes_size(inhrelid))::bigint AS indexes
    FROM pg_inherits WHERE inhparent = 'prices'::regclass
"""

_Question = Callable[[str], Awaitable[int]]  # of a coin; how many prices or candles came


@click.command()
@click.option("--rows", default=10_000_000, show_default=True, help="How many prices to load.")
@click.option("--coins", default=500, show_default=True, help="Of how many coins.")
@click.option("--questions", default=400, show_default=True, help="How often to ask each question.")
def main(rows: int, coins: int, questions: int) -> None:
    """Load a history, ask it, and print what each question took."""
    with (
        TemporaryDirectory(prefix="cryptopulse-history-") as folder,
        running_postgres(Path(folder), durable=False) as postgres,
    ):
        upgrade(postgres.url)
        trio.run(_run, postgres.url, rows, coins, questions)


async def _run(database_url: str, rows: int, coins: int, questions: int) -> None:
    machine = this_machine()
    print(f"{machine.cpu}, {machine.cores} cores, load {machine.load}, {machine.python}, {machine.versions}")
    async with trio_asyncio.open_loop(), open_postgres(database_url) as postgres:
        await _load(postgres, rows, coins)
        await _tell_sizes(postgres, rows)
        print(f"\n{'question':34} {'answers':>8} {'p50 ms':>8} {'p99 ms':>8} {'most ms':>8}")
        for name, ask in _questions(History(postgres)).items():
            took_ms, answers = await _ask_often(ask, coins, questions)
            p99 = quantiles(took_ms, n=100, method="inclusive")[98]
            print(f"{name:34} {median(answers):8.0f} {median(took_ms):8.1f} {p99:8.1f} {max(took_ms):8.1f}", flush=True)


def _questions(history: History) -> dict[str, _Question]:
    """What is measured: the pages of the API, as its route asks for them, and the candles of some intervals."""
    month = (_NOW - timedelta(days=30), _NOW)

    async def page(coin: str, number: int) -> int:
        found = await history.page(coin, "usd", since=None, until=None, limit=100, page=number)
        return len(found.items)

    async def page_one(coin: str) -> int:
        return await page(coin, 1)

    async def page_a_year_back(coin: str) -> int:
        return await page(coin, 170)

    async def before(coin: str, moment: datetime) -> int:
        found = await history.before(coin, "usd", Cursor(moment), since=None, until=None, limit=100)
        return len(found.items)

    async def cursor_now(coin: str) -> int:
        return await before(coin, _NOW)

    async def cursor_a_year_back(coin: str) -> int:
        return await before(coin, _A_YEAR_BACK)

    async def hourly_month(coin: str) -> int:
        return len(await history.candles(coin, "usd", stretch_of("1h", *month, _NOW)))

    async def daily_year(coin: str) -> int:
        return len(await history.candles(coin, "usd", stretch_of("1d", _A_YEAR_BACK, _NOW, _NOW)))

    return {
        "page 1, with the total": page_one,
        "before now": cursor_now,
        "before a year ago": cursor_a_year_back,
        "page 170, with the total": page_a_year_back,
        "a month of hourly candles": hourly_month,
        "a year of daily candles": daily_year,
    }


async def _load(postgres: Postgres, rows: int, coins: int) -> None:
    """Fill the table, a month's share of the prices at a time."""
    began = time.perf_counter()
    for month in range(_MONTHS):
        await postgres.ask(_ENSURE, _month(month), deadline_s=_LOAD_S)
    step = (_NOW - _BEGIN) / rows
    for part in range(_MONTHS):
        first, end = rows * part // _MONTHS, rows * (part + 1) // _MONTHS
        await postgres.ask(_LOAD, first, end, coins, _BEGIN, step, deadline_s=_LOAD_S)
        print(f"loaded {end:,} prices, {time.perf_counter() - began:.0f} s", flush=True)
    # As autovacuum would have done by and by.
    await postgres.ask("VACUUM ANALYZE prices", deadline_s=_LOAD_S)


def _month(number: int) -> datetime:
    years, months = divmod(_BEGIN.month - 1 + number, 12)
    return _BEGIN.replace(year=_BEGIN.year + years, month=months + 1)


async def _tell_sizes(postgres: Postgres, rows: int) -> None:
    (sizes,) = await postgres.ask(_SIZES, deadline_s=_LOAD_S)
    table, indexes = sizes["rows"] / rows, sizes["indexes"] / rows
    print(f"{rows:,} prices: {table:.0f} bytes each in the table, {indexes:.0f} in its indexes")


async def _ask_often(ask: _Question, coins: int, questions: int) -> tuple[list[float], list[int]]:
    """How long each question took, in milliseconds, and how much came of it."""
    random = Random(1)
    took_ms, answers = [], []
    for number in range(-_WARM_UP, questions):
        coin = f"coin-{random.randrange(coins)}"
        began = time.perf_counter()
        answer = await ask(coin)
        if number >= 0:
            took_ms.append((time.perf_counter() - began) * 1000)
            answers.append(answer)
    return took_ms, answers


if __name__ == "__main__":
    main()
