"""The log: JSON lines on stderr, or something readable where stderr is a terminal. Never a secret.

lines = configure_logs("info")
trio.run(serve, instruments=[lines])  # without it every line is written by itself
"""

import json
import logging
import sys
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, BinaryIO

import msgspec
import structlog
import trio


def _add_time(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    line["timestamp"] = timestamp()
    return line


def timestamp() -> str:
    """Now, as structlog writes it, in a fifth of the time: day and hour are not written anew for each line."""
    second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(second)}.{nanosecond // 1000:06}Z"


@lru_cache(maxsize=1)
def _second(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    _add_time,
)


class Lines(trio.abc.Instrument):
    """A stream to which what is written within one pass of trio's scheduler goes out at its end, all at once.

    To write each line of a busy server by itself takes as long as to make it. A pass is over within milliseconds, or
    within some hundred where thousands are answered at once.
    """

    def __init__(self, stream: BinaryIO, *, takes_json: bool) -> None:
        """`takes_json` says whether lines are JSON, and those of level info are wanted."""
        self._stream = stream
        self.takes_json = takes_json
        self._passes = False
        self._kept: deque[bytes] = deque()  # not in the stream's own buffer: PYTHONUNBUFFERED takes that away
        self.write = self._kept.append

    def say(self, line: bytes) -> None:
        """Write a line."""
        self.write(line + b"\n")
        self.flush()

    def flush(self) -> None:
        """Write what was kept, unless the pass does; a log that cannot be written must not end what it tells of."""
        if not self._passes:
            with suppress(OSError):
                self._write_out()

    def before_run(self) -> None:
        """Hear that passes begin."""
        self._passes = True

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - as trio has it
        """Hear that a pass ends."""
        try:
            self._write_out()
        except OSError:
            self._passes = False  # trio would hear no more of us: from here on each line is written by itself

    def after_run(self) -> None:
        """Hear that no pass comes any more."""
        self._passes = False
        self.flush()

    def _write_out(self) -> None:
        if self._kept:
            self._stream.write(b"".join(self._kept.popleft() for _ in range(len(self._kept))))
            self._stream.flush()


def configure_logs(level: str) -> Lines:
    """Write all logs of this process from `level` on: ours, and in the same form those of libraries."""
    rendered = _pretty() if sys.stderr.isatty() else _json()
    lines = Lines(sys.stderr.buffer, takes_json=not sys.stderr.isatty() and level in {"debug", "info"})
    # Ours do not go through the standard library, where a line for each request would take four times as long.
    structlog.configure(
        processors=[*_SHARED, *rendered],
        logger_factory=structlog.BytesLoggerFactory(lines),  # type: ignore[arg-type] # it writes and flushes, no more
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered, _decoded],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What these say at info is said better by our own lines, or holds what does not belong in a log.
    for chatty in ("hypercorn", "httpx", "httpcore", "asyncio", "redis"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
    return lines


def _json() -> list[structlog.typing.Processor]:
    # A plain traceback: the richer formats show local variables, and with them secrets.
    return [structlog.processors.format_exc_info, _as_json]


def _as_json(_logger: object, _method: str, line: structlog.typing.EventDict) -> bytes:
    text = msgspec.json.encode(line, enc_hook=repr)
    # Beyond ASCII there are more ways to play with a terminal.
    return text if text.isascii() else json.dumps(line, default=repr).encode()


def _pretty() -> list[structlog.typing.Processor]:
    # Every text is written as a literal, so that no path can play with the terminal.
    console = structlog.dev.ConsoleRenderer(repr_native_str=True, exception_formatter=structlog.dev.plain_traceback)
    return [console, _encoded]


def _encoded(_logger: object, _method: str, text: Any) -> bytes:
    return str(text).encode()


def _decoded(_logger: object, _method: str, line: Any) -> str:
    """As the standard library wants it."""
    return bytes(line).decode()
