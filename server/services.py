"""What the routes use, and how they get at it."""

from dataclasses import dataclass, field
from typing import cast

import trio
from quart import current_app

from core.callers import Callers
from core.coin_list import CoinList
from core.coordinator import Coordinator
from core.history import History
from core.metrics import Metrics
from core.price_desk import PriceDesk
from core.settings import Settings
from core.streams import Streams
from server.admin import Admin
from server.auth import Tokens
from server.request_log import RequestLog

EXTENSION = "cryptopulse"


@dataclass(frozen=True, slots=True)
class Services:
    """The core, as the HTTP side sees it."""

    settings: Settings
    tokens: Tokens
    admin: Admin
    desk: PriceDesk
    callers: Callers
    coordinator: Coordinator
    history: History
    coin_list: CoinList
    metrics: Metrics
    streams: Streams
    draining: trio.Event  # set once this instance is on its way out
    log: RequestLog = field(default_factory=RequestLog)


def services() -> Services:
    """The services of the app that handles the current request."""
    return cast("Services", current_app.extensions[EXTENSION])
