"""The OpenAPI document: what the contract says, gathered from the routes."""

from collections.abc import Callable, Collection, Mapping
from http.client import OK
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import Field, WithJsonSchema
from quart_schema import OpenAPIProvider, QuartSchema, document_response
from quart_schema.openapi import APIKeySecurityScheme, HttpSecurityScheme, Info
from quart_schema.validation import DataSource
from werkzeug.routing import Rule
from werkzeug.routing.converters import BaseConverter

from server.answers import ErrorBody, ProblemBody
from server.examples import errors_in_all_forms, example_of
from server.inputs import COIN_ID_SCHEMA, Input
from server.problems import MEDIA_TYPE

RouteT = TypeVar("RouteT", bound=Callable[..., Any])

BEARER: dict[str, list[str]] = {"bearer": []}
API_KEY: dict[str, list[str]] = {"apiKey": []}
LIMIT_HEADERS = {
    "X-RateLimit-Limit": "How many requests you may send in a window.",
    "X-RateLimit-Remaining": "How many of them are left.",
    "X-RateLimit-Reset": "Seconds until more are left.",
}
BATCH_HEADERS = {
    "X-Batch-Id": "The batch that this request was part of.",
    "X-Batch-Size": "How many requests it answered, over all instances.",
    "X-Batch-Trigger": "Why it was fetched when it was: threshold, window, ride-along, takeover or drain; "
    "fresh: it was at hand already.",
    "Server-Timing": "Milliseconds from admission to answer (batch), and of the upstream call (upstream).",
}
FRESHNESS_HEADERS = {
    "Age": "Seconds since the price was fetched; of several, the oldest.",
    "Cache-Control": "How long the answer may be kept, counted from the fetch.",
}
# Who has no token or sent what cannot be read is not charged, so there is nothing to tell.
UNCHARGED = frozenset({400, 401, 408, 413, 415, 422})
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
    422: "A parameter is missing.",
    429: "You are over your limit, or we are over CoinGecko's.",
    502: "CoinGecko failed.",
    503: "Something that this request needs is away, or this instance is shutting down.",
    504: "No result in time, or no fetch was allowed and no price is at hand.",
}
_BITCOIN = "bitcoin"
_COIN_ID = {
    "description": "A CoinGecko id.",
    "example": _BITCOIN,
    "schema": COIN_ID_SCHEMA,
}
_HEADERS = "_answer_headers"
_CONTENT_TYPE = "_answer_content_type"
_EXAMPLE = "_answer_example"
_TOLD = "_errors_told"
_NOTHING: Mapping[int, Exception] = MappingProxyType({})
_JSON = "application/json"
_REFERENCE = "#/components/schemas/{name}"


class FreshnessHeader(Input):
    """How old a price may be."""

    cache_control: Annotated[str | None, WithJsonSchema({"type": "string"})] = Field(
        None,
        alias="Cache-Control",
        description="How old a price may be, in seconds: 'max-age=30' to be answered at once, 'stale-if-error=600' if "
        "CoinGecko fails; 'only-if-cached' forbids a fetch, 'no-cache' demands one.",
        examples=["max-age=30"],
    )


def documented(
    body: Any,
    *errors: int,
    example: object,
    told: Mapping[int, Exception] = _NOTHING,
    headers: dict[str, str] | None = None,
    content_type: str = _JSON,
    uncharged: Collection[int] = UNCHARGED,
    error_form: Callable[[int], type[msgspec.Struct]] = lambda _: ErrorBody,
) -> Callable[[RouteT], RouteT]:
    """Say what a route answers: the body of its 200, its errors, its headers, and which errors cost nothing.

    `body` is a struct, or another type that is annotated with its description, `example` one such body. `told` are
    errors by their status, where others than usual are the ones to show.
    """

    def mark(route: RouteT) -> RouteT:
        document_response(body, 200)(route)
        for status in errors:
            document_response(error_form(status), status)(route)
        setattr(route, _CONTENT_TYPE, content_type)
        setattr(route, _EXAMPLE, example)
        setattr(route, _TOLD, told)
        sent = headers or {}
        limits = {name: text for name, text in sent.items() if name in LIMIT_HEADERS}
        setattr(route, _HEADERS, {200: sent} | {status: limits for status in errors if status not in uncharged})
        return route

    return mark


class Provider(OpenAPIProvider):
    """Adds what quart-schema leaves out: headers, examples, required bodies, the form of a coin id, errors by name."""

    def build_paths(self, rule: Rule) -> tuple[dict[str, Any], dict[str, Any]]:
        """The operations of one route."""
        paths, components = super().build_paths(rule)
        route = self._app.view_functions[rule.endpoint]
        for path, operations in paths.items():
            asked = path.replace("{coinId}", _BITCOIN)
            for operation in operations.values():
                operation["responses"] = {
                    str(status): _answered(route, response)
                    if status == OK
                    else _refused(route, response, status, asked)
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
        (content,) = body["content"].values()
        fields = content["schema"]["properties"]
        content["example"] = {name: field.pop("examples")[0] for name, field in fields.items()}
        return body | {"required": True}, components

    def build_querystring_parameters(self, model: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """A query; what is left out has no value, not null."""
        parameters, components = super().build_querystring_parameters(model)
        required = model.model_json_schema().get("required", [])
        return [_parameter(parameter, required) for parameter in parameters], components

    def build_headers_parameters(self, model: type) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Headers of a request; none has to be sent."""
        parameters, components = super().build_headers_parameters(model)
        return [_parameter(parameter, ()) for parameter in parameters], components

    def build_response_object(
        self,
        model: type,
        headers_model: type | None,  # noqa: ARG002 - quart-schema's; our headers come from `documented`
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """An answer, by reference: quart-schema would lose the structs inside of a struct."""
        models = [model, ProblemBody] if model is ErrorBody else [model]
        (schema, *problem), components = msgspec.json.schema_components(models, ref_template=_REFERENCE)
        _write_decimals_as_numbers([schema, components])
        description = schema.pop("description", None) or model.__doc__
        content = {_JSON: {"schema": schema}}
        if problem:
            content[MEDIA_TYPE] = {"schema": problem[0]}
        return {"description": description, "content": content}, components

    def operation_id(self, method: str, path: str, func: Callable[..., Any]) -> str:  # noqa: ARG002 - quart-schema's
        """The route's name, unique in the document."""
        return func.__name__


def _parameter(parameter: dict[str, Any], required: Collection[str]) -> dict[str, Any]:
    """A parameter as it is written into an address; what is left out has no value, not null.

    What must be given is filled in on the page, what need not be is left to the reader.
    """
    schema = {name: value for name, value in parameter["schema"].items() if name != "title"}
    if "anyOf" in schema:
        given, _null = schema.pop("anyOf")
        schema |= given
    if schema.get("default") is None:
        schema.pop("default", None)
    told = parameter | {"schema": schema}
    if schema.get("type") == "array":
        told |= {"style": "form", "explode": False}  # a,b
    if parameter["name"] not in required:
        return told
    return told | {"required": True, "example": schema.pop("examples")[0]}


def _write_decimals_as_numbers(node: Any) -> None:
    """Tell of decimals in a schema what the encoder does: it writes them as numbers, digit by digit."""
    if isinstance(node, dict) and node.get("format") == "decimal":
        node["type"] = "number"
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _write_decimals_as_numbers(part)


def _answered(route: Callable[..., Any], response: dict[str, Any]) -> dict[str, Any]:
    form = response["content"][_JSON] | {"example": example_of(getattr(route, _EXAMPLE))}
    return _with_headers(route, response | {"content": {getattr(route, _CONTENT_TYPE): form}}, OK)


def _refused(route: Callable[..., Any], response: dict[str, Any], status: int, path: str) -> dict[str, Any]:
    told = errors_in_all_forms(status, path, getattr(route, _TOLD))
    content = {media_type: form | {"example": told[media_type]} for media_type, form in response["content"].items()}
    return _with_headers(route, {"description": _ERRORS[status], "content": content}, status)


def _with_headers(route: Callable[..., Any], response: dict[str, Any], status: int) -> dict[str, Any]:
    sent = _ERROR_HEADERS.get(status, {}) | getattr(route, _HEADERS).get(status, {}) | _EVERY_ANSWER
    return response | {"headers": {name: _header(text) for name, text in sent.items()}}


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
        security_schemes={
            "bearer": HttpSecurityScheme(scheme="bearer", bearer_format="JWT"),
            "apiKey": APIKeySecurityScheme(name="x-cg-demo-api-key", in_="header"),
        },
        openapi_provider_class=Provider,
    )
