"""Prices to keep, and a history that keeps them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import uuid4

from core.history import History
from core.postgres import open_postgres
from core.prices import Price

NOON_MS = 1_772_280_000_000  # 2026-02-28T12:00Z


def price_at(fetched_at_ms: int, text: str = "1.5", **changes: Any) -> Price:
    fields: dict[str, Any] = {"batch_id": uuid4().hex, "coin_id": "bitcoin", "vs_currency": "usd"} | changes
    return Price(**fields, price=Decimal(text), fetched_at_ms=fetched_at_ms)


@asynccontextmanager
async def open_history(database_url: str) -> AsyncIterator[History]:
    async with open_postgres(database_url) as postgres:
        yield History(postgres)
