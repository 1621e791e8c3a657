"""`/metrics`: for Prometheus. It asks for no token, so it is to be kept inside."""

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from quart import Blueprint, Response
from quart_schema import hide

from server.services import services

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
@hide
async def metrics() -> Response:
    """What this instance counted, and how the outbox and the budget stand."""
    return Response(await services().metrics.scrape(), content_type=CONTENT_TYPE_PLAIN_0_0_4)
