"""How many upstream calls batching saves: `make bench`, or `python -m benchmarks.reduction --help`.

One seeded trace goes through the real service once for each variant of it: real Valkey, Postgres and HTTP, server
processes of their own, and the simulator in CoinGecko's place, whose record tells how often it was called. A hard case:

    python -m benchmarks.reduction --rate 300 --seconds 60 --coins 500 --limit-per-minute 30 --variants original,budget
"""

import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
import trio

from benchmarks.figures import summarize
from benchmarks.machine import this_machine
from benchmarks.replay import replay
from benchmarks.report import Options, Report, Run, described, shipped
from benchmarks.service import running_service
from benchmarks.simulation import optimum
from benchmarks.trace import KNOWN_COINS, Arrival, Traffic, coin_ids, make_trace
from benchmarks.variants import Variant, chosen
from server.local.lifetimes import Stop

RESULTS = Path(__file__).with_name("results")
_INTERRUPTED = 130  # as shells write it


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--rate", type=click.FloatRange(0.1, 500), default=40, help="Requests a second, over all instances.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=15, help="How long each variant gets requests.")
@click.option("--coins", type=click.IntRange(1, 10_000), default=20, help="How many coins are asked for.")
@click.option("--skew", type=click.FloatRange(0, 10), default=1.0, help="Zipf's exponent; 0: all coins equally often.")
@click.option("--seed", type=int, default=1, help="Which trace.")
@click.option("--latency-ms", type=click.FloatRange(0, 2000), default=100, help="What a call takes upstream.")
@click.option("--limit-per-minute", type=click.IntRange(1), help="How many calls a minute the upstream lets in.")
@click.option("--instances", type=click.IntRange(1, 16), default=2, help="Server processes.")
@click.option("--variants", default="off,original,ride-along", help="Which to compare; with a limit also: budget.")
@click.option(
    "--results", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="Where the raw JSON goes."
)
def main(
    *,
    rate: float,
    seconds: float,
    coins: int,
    skew: float,
    seed: int,
    latency_ms: float,
    limit_per_minute: int | None,
    instances: int,
    variants: str,
    results: Path,
) -> None:
    """Measure how many upstream calls batching saves, and how long requests wait for it."""
    traffic = Traffic(rate=rate, seconds=seconds, coins=coins, skew=skew, seed=seed)
    options = Options(traffic, latency_ms, instances, limit_per_minute)
    try:
        compared = chosen(variants, limit_per_minute)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--variants") from error
    stop = Stop()
    reports: list[Report] = []
    trio.run(_until_told, options, compared, stop, reports)
    if stop.failure:
        raise click.ClickException(stop.failure)
    if not reports:
        sys.exit(_INTERRUPTED)
    [report] = reports
    click.echo(f"\n{described(report)}")
    click.echo(f"\nEvery request: {_saved(report, results)}")


async def _until_told(options: Options, variants: Sequence[Variant], stop: Stop, reports: list[Report]) -> None:
    """Add the report to `reports`, unless `stop` comes first."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop.on_signal)
        with stop.scope:
            reports.append(await _measure(options, variants, stop))
        nursery.cancel_scope.cancel()


async def _measure(options: Options, variants: Sequence[Variant], stop: Stop) -> Report:
    began_at, machine = datetime.now(UTC), this_machine()
    trace = make_trace(options.traffic)
    users = users_within_limit(len(trace))
    fewest = optimum(trace, shipped("batch_window_ms") / 1000)
    runs = [await _run(variant, options, trace, users, stop) for variant in variants]
    return Report(began_at, options, users, fewest, machine, runs)


async def _run(variant: Variant, options: Options, trace: Sequence[Arrival], users: int, stop: Stop) -> Run:
    click.echo(f"{variant.name}: {len(trace)} requests in {options.traffic.seconds:g} s …", err=True)
    with tempfile.TemporaryDirectory(prefix="cryptopulse-bench-") as folder:
        async with running_service(
            Path(folder),
            instances=options.instances,
            simulator=_simulator_for(options),
            settings=variant.settings,
            stop=stop,
        ) as service:
            outcomes = await replay(trace, service.urls, service.tokens(users))
            calls = await service.upstream_calls()
    return Run(variant, summarize(variant.name, outcomes, calls), outcomes)


def _simulator_for(options: Options) -> dict[str, object]:
    """What the simulator is told, also of the coins that it does not know by itself."""
    made_up = coin_ids(options.traffic.coins)[len(KNOWN_COINS) :]
    return {
        "latency_ms": options.latency_ms,
        "limit_per_minute": options.limit_per_minute or 0,
        "prices": {coin_id: {"usd": "1.5"} for coin_id in made_up},
    }


def users_within_limit(requests: int) -> int:
    """So many users, taking turns, that none of them comes to the rate limit as shipped."""
    return max(1, -(-requests // shipped("throttle_global_limit")))


def _saved(report: Report, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"reduction-{report.began_at:%Y%m%dT%H%M%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
    return path


if __name__ == "__main__":
    main()
