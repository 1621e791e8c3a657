"""`/health`: for those who decide whether this instance lives and gets requests."""

import trio
from quart import Blueprint, Response
from quart_schema import tag

from core.errors import ShuttingDown
from server.answers import HealthBody, answer
from server.examples import HEALTH
from server.openapi import documented
from server.services import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/health/live")
@documented(HealthBody, example=HEALTH)
@tag(["health"])
async def live() -> Response:
    """Whether the process answers at all."""
    await trio.lowlevel.checkpoint()  # it does if its scheduler still turns
    return answer(HealthBody("ok"))


@blueprint.get("/health/ready")
@documented(HealthBody, 503, example=HEALTH)
@tag(["health"])
async def ready() -> Response:
    """Whether to send requests here: Redis answers, and this instance is not shutting down."""
    if services().draining.is_set():
        raise ShuttingDown
    await services().coordinator.ping()
    return answer(HealthBody("ok"))
