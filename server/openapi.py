"""The OpenAPI document: what the contract says, gathered from the routes."""

from collections.abc import Callable, Collection
from typing import Any, TypeVar

import msgspec
from quart_schema import OpenAPIProvider, QuartSchema, document_response
from quart_schema.openapi import HttpSecurityScheme, Info
from quart_schema.validation import DataSource
from werkzeug.routing import Rule
from werkzeug.routing.converters import BaseConverter

from server.answers import ErrorBody

RouteT = TypeVar("RouteT", bound=Callable[..., Any])

BEARER: dict[str, list[str]] = {"bearer": []}
LIMIT_HEADERS = {
    "X-RateLimit-Limit": "How many requests you may send in a window.",
    "X-RateLimit-Remaining": "How many of them are left.",
    "X-RateLimit-Reset": "Seconds until more are left.",
}
BATCH_HEADERS = {
    "X-Batch-Id": "The batch that this request was part of.",
    "X-Batch-Size": "How many requests it answered, over all instances.",
    "X-Batch-Trigger": "Why it was fetched when it was: threshold, window, ride-along, takeover or drain.",
    "Server-Timing": "Milliseconds from admission to answer (batch), and of the upstream call (upstream).",
}
# Who has no token or sent what cannot be read is not charged, so there is nothing to tell.
UNCHARGED = frozenset({400, 401, 408, 413, 415})
_EVERY_ANSWER = {"X-Request-Id": "Yours if you sent one, else made up; the log knows it."}
_ERROR_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}
_ERRORS = {
    400: "The id, the query or the body is malformed.",
    401: "No valid token, or wrong credentials.",
    404: "CoinGecko does not know the coin, or lists no price of it in this currency.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is not sent as JSON.",
    429: "You are over your limit, or CoinGecko says that we are.",
    502: "CoinGecko failed.",
    503: "Something that this request needs is away, or this instance is shutting down.",
    504: "No result in time.",
}
_COIN_ID = {
    "description": "A CoinGecko id.",
    "example": "bitcoin",
    "schema": {"type": "string", "pattern": "^[a-z0-9-]+$", "minLength": 1, "maxLength": 128},
}
_HEADERS = "_answer_headers"
_REFERENCE = "#/components/schemas/{name}"


def documented(
    body: type, *errors: int, headers: dict[str, str] | None = None, uncharged: Collection[int] = UNCHARGED
) -> Callable[[RouteT], RouteT]:
    """Say what a route answers: the body of its 200, its errors, its headers, and which errors cost nothing."""

    def mark(route: RouteT) -> RouteT:
        for status in (200, *errors):
            document_response(ErrorBody if status in errors else body, status)(route)
        told = headers or {}
        limits = {name: text for name, text in told.items() if name in LIMIT_HEADERS}
        setattr(route, _HEADERS, {200: told} | {status: limits for status in errors if status not in uncharged})
        return route

    return mark


class Provider(OpenAPIProvider):
    """Adds what quart-schema leaves out: headers, required bodies, the form of a coin id, errors by name."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The operations of one route."""
        paths, components = super().build_paths(rule)
        headers = getattr(self._app.view_functions[rule.endpoint], _HEADERS, {})
        for path in paths.values():
            for operation in path.values():
                operation["responses"] = {
                    str(status): _described(status, response, headers.get(status, {}))
                    for status, response in operation["responses"].items()
                }
        return paths, components

    def build_path_parameter(self, name: str, converter: BaseConverter) -> dict[str, Any]:
        """A part of a path."""
        parameter: dict[str, Any] = super().build_path_parameter(name, converter)
        return parameter | _COIN_ID if name == "coinId" else parameter

    def build_request_body(self, model: type, source: DataSource) -> tuple[dict[str, Any], dict[str, Any]]:
        """A body, without which the request makes no sense."""
        body, components = super().build_request_body(model, source)
        return body | {"required": True}, components

    def build_querystring_parameters(self, model: type) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """A query; what is left out has no value, not null."""
        parameters, components = super().build_querystring_parameters(model)
        for schema in (parameter["schema"] for parameter in parameters):
            del schema["title"]
            if schema.get("default") is None:
                schema.pop("default", None)
        return parameters, components

    def build_response_object(
        self,
        model: type,
        headers_model: type | None,  # noqa: ARG002 - quart-schema's; our headers come from `documented`
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """An answer, by reference: quart-schema would lose the structs inside of a struct."""
        (reference,), components = msgspec.json.schema_components([model], ref_template=_REFERENCE)
        for schema in (part for component in components.values() for part in component["properties"].values()):
            if schema.get("format") == "decimal":
                schema["type"] = "number"  # as the encoder writes it, digit by digit
        content = {"application/json": {"schema": reference}}
        return {"description": model.__doc__, "content": content}, components

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:  # noqa: ARG002 - quart-schema's
        """The route's name, unique in the document."""
        return func.__name__


def _described(status: int, response: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    told = _ERROR_HEADERS.get(status, {}) | headers | _EVERY_ANSWER
    return response | {
        "description": _ERRORS.get(status, response["description"]),
        "headers": {name: _header(text) for name, text in told.items()},
    }


def _header(text: str) -> dict[str, Any]:
    return {"description": text, "schema": {"type": "string"}}


def open_api(version: str) -> QuartSchema:
    """The extension that serves the document."""
    return QuartSchema(
        openapi_path="/docs-json",
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        info=Info(
            title="CryptoPulse",
            version=version,
            description="Prices by CoinGecko, many clients by few calls. Log in, then press Authorize with the token.",
        ),
        security_schemes={"bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT")},
        openapi_provider_class=Provider,
    )
