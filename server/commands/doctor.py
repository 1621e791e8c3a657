"""`cryptopulse doctor`: whether all that a server needs is there."""

# ruff: noqa: PLC0415 - `cryptopulse --help` should not wait for this

import click


@click.command()
@click.option("--upstream", is_flag=True, help="Ask CoinGecko too, which may cost a call of the month.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(*, upstream: bool, as_json: bool) -> None:
    """Look at Redis, Postgres and CoinGecko, and say what to do.

    Exit status 0: all is well, warnings aside; 1: there is trouble; 2: settings are wrong.
    """
    from functools import partial

    import msgspec
    import trio

    from core.settings import load_settings
    from server.commands.wrong_settings import told_if_wrong
    from server.doctor import examine

    with told_if_wrong():
        settings = load_settings()
    findings = trio.run(partial(examine, settings, ask_upstream=upstream))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        for finding in findings:
            to_do = f": {finding.to_do}" if finding.to_do else ""
            click.echo(f"{finding.state:<8} {finding.about:<10} {finding.told}{to_do}")
    if any(finding.state == "trouble" for finding in findings):
        raise SystemExit(1)
