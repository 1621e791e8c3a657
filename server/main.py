"""The server process: what it opens, from top to bottom, is closed from bottom to top.

The shutdown order is the indentation: no new connections, the last answers, and only then what they needed.
"""

import resource
import sys
from contextlib import suppress

import structlog
import trio
import trio_asyncio

from core.process import collect_garbage_seldom
from core.schema import DatabaseAway, Schema, look
from core.service import open_core
from core.settings import Settings
from server.admin import Admin
from server.app import create_app
from server.auth import Tokens
from server.errors import leaves
from server.listener import CannotListen, bound_socket, serving
from server.logs import Lines, configure_logs
from server.request_log import RequestLog
from server.services import Services
from server.shutdown import CutOff, ended_by_signals

_INTERRUPTED = 130  # as shells write it
# To Redis, Postgres and CoinGecko, and what Python itself holds open.
_FILES_BESIDE_CONNECTIONS = 200


def run(settings: Settings) -> None:
    """Serve with these settings; exits with 1, and a line that says why, if that goes wrong."""
    lines = configure_logs(settings.log_level)
    try:
        trio.run(serve, settings, lines, instruments=[lines])
    except (Exception, BaseExceptionGroup, KeyboardInterrupt) as error:  # noqa: BLE001 - nobody is left to hear of it
        sys.exit(_last_word(error))


async def serve(
    settings: Settings, lines: Lines | None = None, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until a signal, then answer who waits; reports the URL once it listens.

    Raises CannotListen, CutOff, and whatever a background task dies of: better no server than one that only looks
    alive.
    """
    draining = trio.Event()
    with bound_socket(settings.host, settings.port) as listener:
        _allow_files(settings.max_connections + _FILES_BESIDE_CONNECTIONS)
        async with trio_asyncio.open_loop(), open_core(settings) as core, trio.open_nursery() as nursery:
            nursery.start_soon(_tell_if_not_migrated, settings)

            def begin_drain() -> None:
                draining.set()
                core.desk.drain()
                core.streams.drain()

            services = Services(
                settings,
                Tokens.of(settings),
                Admin(settings.admin_user, settings.admin_pass.get_secret_value()),
                core.desk,
                core.callers,
                core.coordinator,
                core.history,
                core.coin_list,
                core.metrics,
                core.streams,
                draining,
                RequestLog(lines),
            )
            app = create_app(services)
            async with (
                ended_by_signals(begin_drain),
                serving(app, services, listener, core.desk.wait_empty) as url,
            ):
                collect_garbage_seldom()
                task_status.started(url)
            nursery.cancel_scope.cancel()


async def _tell_if_not_migrated(settings: Settings) -> None:
    """Say so in the log, once; a Postgres that is away is told of by those who need it."""
    with suppress(DatabaseAway):
        schema: Schema = await trio.to_thread.run_sync(
            look, settings.database_url.get_secret_value(), abandon_on_cancel=True
        )
        if not schema.is_current:
            structlog.get_logger("server").error(
                "the database is not migrated: run `cryptopulse migrate`; until then prices are served, history is not",
                applied=schema.applied,
                needed=schema.newest,
            )


def _allow_files(wanted: int) -> None:
    """Let the process hold a connection for everybody whom it lets in, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < wanted - _FILES_BESIDE_CONNECTIONS:
        structlog.get_logger("server").warning("too few open files for MAX_CONNECTIONS", allowed=most, wanted=wanted)


def _last_word(error: BaseException) -> str | int:
    """What the process ends with: a line for what the operator can mend or asked for, else a crash in the log."""
    for leaf in leaves(error):
        if isinstance(leaf, CannotListen | CutOff):
            return str(leaf)
        if isinstance(leaf, KeyboardInterrupt):
            return _INTERRUPTED
    structlog.get_logger("server").critical("crashed", exc_info=error)
    return 1
