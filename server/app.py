"""The app: wiring only."""

from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from quart import Response, request
from quart.ctx import RequestContext
from quart.typing import ResponseReturnValue
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from server.access_log import AccessLog
from server.answers import response as json_response
from server.asked import current
from server.charges import charge_headers
from server.connection import Connection
from server.errors import error_answer, most_telling
from server.openapi import open_api
from server.routes import auth, candles, compat, docs, health, history, metrics, prices, stream
from server.services import EXTENSION, Services
from server.traffic import pattern

if TYPE_CHECKING:
    from quart.json.provider import DefaultJSONProvider

MAX_BODY_BYTES = 16 * 1024
BODY_TIMEOUT_S = 10


class App(QuartTrio):
    """Quart on Trio, with connections that end when they should, and one place for errors and for limits told."""

    asgi_http_class = Connection

    async def preprocess_request(self, request_context: RequestContext | None = None) -> ResponseReturnValue | None:
        """Note of a request which route it is for, however it ends."""
        if request.url_rule is not None:
            current().notes.route = pattern(request.url_rule)
        return await super().preprocess_request(request_context)

    async def handle_user_exception(self, error: Exception | BaseExceptionGroup) -> HTTPException | ResponseReturnValue:
        """Answer an error of a route, or raise the group that holds a cancellation."""
        told = most_telling(error)
        if isinstance(told, BaseExceptionGroup):
            raise told
        return json_response(error_answer(told, current().scope))

    async def process_response(
        self, response: Response | WerkzeugResponse, request_context: RequestContext | None = None
    ) -> Response | WerkzeugResponse:
        """Add to an answer, whatever it is, what is left of the caller's limit."""
        response = await super().process_response(response, request_context)
        response.headers.update(charge_headers(current().notes.charge))
        return response


def create_app(services: Services) -> QuartTrio:
    """Put the routes around the services."""
    app = App("cryptopulse", static_folder=None)
    app.extensions[EXTENSION] = services
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["BODY_TIMEOUT"] = BODY_TIMEOUT_S
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # else '//' is answered by a redirect, which is no JSON
    for routes in (auth, prices, stream, history, candles, compat, health, metrics, docs):
        app.register_blueprint(routes.blueprint)
    open_api(version("cryptopulse")).init_app(app)
    cast("DefaultJSONProvider", app.json).sort_keys = False  # the document keeps the contract's order
    services.metrics.add(services.log.traffic)
    # Quart's own way to put something around an app is to assign to this method.
    app.asgi_app = AccessLog(app.asgi_app, services.log)  # type: ignore[method-assign,assignment]
    return app
