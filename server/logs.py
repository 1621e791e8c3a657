"""The log: JSON lines on stderr, or something readable where stderr is a terminal. Never a secret."""

import logging
import sys

import structlog

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs(level: str) -> None:
    """Send all logs of this process, ours and the libraries', through structlog from `level` on."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(pretty=sys.stderr.isatty()))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # What these say at info is said better by our own lines, or holds what does not belong in a log.
    for chatty in ("hypercorn", "httpx", "httpcore", "asyncio", "redis"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


def _formatter(*, pretty: bool) -> structlog.stdlib.ProcessorFormatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(_pretty() if pretty else _json()),
        ],
    )


def _json() -> list[structlog.typing.Processor]:
    # A plain traceback: the richer formats show local variables, and with them secrets.
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=True)]


def _pretty() -> list[structlog.typing.Processor]:
    # Every text is written as a literal, so that no path can play with the terminal.
    return [structlog.dev.ConsoleRenderer(repr_native_str=True, exception_formatter=structlog.dev.plain_traceback)]
