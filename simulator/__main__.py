"""The command line: `python -m simulator --port 8080`."""

import signal

import click
import trio

from simulator.config import SimulatorConfig
from simulator.simulator import Simulator


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Port to listen on; 0 picks one.",
)
@click.option("--latency-ms", type=click.FloatRange(0), default=0, show_default=True, help="Wait before each answer.")
@click.option(
    "--limit-per-minute",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Calls let in a minute, over all callers; 0 is no limit.",
)
@click.option(
    "--credits-per-month",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Answers given out until a reset, over all callers; 0 is no limit.",
)
@click.option(
    "--update-period-s",
    type=click.FloatRange(0, min_open=True),
    default=60,
    show_default=True,
    help="How often prices move.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which course the prices take.")
def main(
    host: str,
    port: int,
    latency_ms: float,
    limit_per_minute: int,
    credits_per_month: int,
    update_period_s: float,
    seed: int,
) -> None:
    """Serve a CoinGecko of our own until SIGTERM or Ctrl-C."""
    config = SimulatorConfig(
        seed=seed,
        update_period_s=update_period_s,
        latency_ms=latency_ms,
        limit_per_minute=limit_per_minute,
        credits_per_month=credits_per_month,
    )
    refused: list[Exception] = []
    try:
        trio.run(_serve, Simulator(config), host, port)
    except* OSError as group:
        refused.extend(group.exceptions)
    if refused:
        raise click.ClickException(f"cannot listen on {host}:{port}: {refused[0]}")


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            url = await nursery.start(simulator.serve, host, port)
            click.echo(f"simulator listening on {url}")
            async for _ in signals:
                nursery.cancel_scope.cancel()


if __name__ == "__main__":
    main()
