"""`/docs` and `/docs-json`: complete, valid, and without the internet."""

import re
from collections.abc import Iterator
from typing import Any

import httpx

ERRORS = {
    "/auth/login": {"400", "401", "408", "413", "415", "429", "503"},
    "/v1/price/{coinId}": {"400", "401", "404", "429", "502", "503", "504"},
    "/v1/price/{coinId}/history": {"400", "401", "429", "503"},
    "/v1/price/{coinId}/candles": {"400", "401", "429", "503"},
    "/v1/prices": {"400", "401", "429", "503"},
    "/v1/prices/stream": {"400", "401", "429", "503"},
    "/api/v3/simple/price": {"400", "401", "422", "429", "502", "503", "504"},
    "/api/v3/simple/supported_vs_currencies": {"401", "429", "503"},
    "/api/v3/coins/list": {"400", "401", "429", "502", "503", "504"},
    "/api/v3/ping": {"401", "429", "503"},
    "/health/live": set(),
    "/health/ready": {"503"},
}
Schemes = list[dict[str, list[str]]]
LIMITS = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


async def document_of(client: httpx.AsyncClient) -> dict[str, Any]:
    answer = await client.get("/docs-json")
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        yield from ((path, operation) for operation in methods.values())


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    if isinstance(node, list):
        for value in node:
            yield from references(value)


async def test_every_endpoint_and_every_error_is_in_the_document(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    found = {path: set(operation["responses"]) - {"200"} for path, operation in operations(document)}
    assert found == ERRORS


async def test_the_document_is_whole(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "CryptoPulse"
    schemas = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) <= schemas
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, operation in operations(document):
        assert operation["summary"]
        for status, response in operation["responses"].items():
            assert set(response) == {"description", "content", "headers"}
            is_problem = status != "200" and not path.startswith("/api/v3/")
            streamed = (path, status) == ("/v1/prices/stream", "200")
            body = "text/event-stream" if streamed else "application/json"
            assert set(response["content"]) == {body, *(["application/problem+json"] * is_problem)}


async def test_parameters_are_spelled_as_in_the_contract(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    history = document["paths"]["/v1/price/{coinId}/history"]["get"]
    found = {(parameter["name"], parameter["in"]) for parameter in history["parameters"]}
    queries = {(name, "query") for name in ("from", "to", "limit", "page", "before", "vsCurrency")}
    assert found == {("coinId", "path"), *queries}
    assert all(parameter["description"] for parameter in history["parameters"])


async def test_bodies_are_spelled_as_in_the_contract(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    schemas = document["components"]["schemas"]
    price = document["paths"]["/v1/price/{coinId}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    properties = price.get("properties") or schemas[price["$ref"].rpartition("/")[2]]["properties"]
    assert list(properties) == ["coinId", "vsCurrency", "price", "fetchedAt"]
    assert properties["price"]["type"] == "number"
    login = document["paths"]["/auth/login"]["post"]["requestBody"]
    assert login["required"] is True
    assert login["content"]["application/json"]["schema"]["additionalProperties"] is False


async def test_prices_want_a_token_the_drop_in_takes_it_as_a_key_and_nothing_else_does(
    client: httpx.AsyncClient,
) -> None:
    document = await document_of(client)
    assert document["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "apiKey": {"type": "apiKey", "name": "x-cg-demo-api-key", "in": "header"},
    }
    wanting = {path: operation["security"] for path, operation in operations(document) if "security" in operation}
    bearer: Schemes = [{"bearer": []}]
    key_or_bearer: Schemes = [{"apiKey": []}, {"bearer": []}]
    prices = {path: bearer for path in ERRORS if path.startswith("/v1/")}
    drop_in = {path: key_or_bearer for path in ERRORS if path.startswith("/api/v3/")}
    assert wanting == prices | drop_in


async def test_the_drop_in_is_set_apart_and_its_answer_is_of_free_names_and_numbers(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    tagged = {path for path, operation in operations(document) if "drop-in for CoinGecko clients" in operation["tags"]}
    assert tagged == {path for path in ERRORS if path.startswith("/api/v3/")}
    answer = document["paths"]["/api/v3/simple/price"]["get"]["responses"]["200"]["content"]["application/json"]
    number = answer["schema"]["additionalProperties"]["additionalProperties"]
    assert (answer["schema"]["type"], number["type"]) == ("object", "number")


async def test_errors_of_the_drop_in_are_documented_in_coingeckos_forms(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    responses = document["paths"]["/api/v3/simple/price"]["get"]["responses"]
    forms = {
        status: response["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for status, response in responses.items()
        if status != "200"
    }
    flat = dict.fromkeys(["400", "422", "502", "503", "504"], "FlatError")
    assert forms == flat | {"401": "StatusError", "429": "StatusError"}


async def test_lists_are_documented_with_commas_between_and_what_must_be_given_as_required(
    client: httpx.AsyncClient,
) -> None:
    document = await document_of(client)
    for path, required in [("/v1/prices", {"ids"}), ("/api/v3/simple/price", {"ids", "vs_currencies"})]:
        query = [one for one in document["paths"][path]["get"]["parameters"] if one["in"] == "query"]
        lists = [one for one in query if one["schema"]["type"] == "array"]
        assert len(lists) == 2
        assert all((one["style"], one["explode"]) == ("form", False) for one in lists)
        assert {one["name"] for one in query if one.get("required")} == required


async def parameter(client: httpx.AsyncClient, path: str, name: str) -> dict[str, Any]:
    """The schema of a parameter of GET at a path."""
    document = await document_of(client)
    (schema,) = [one["schema"] for one in document["paths"][path]["get"]["parameters"] if one["name"] == name]
    found: dict[str, Any] = schema
    return found


async def test_the_drop_in_takes_any_names_as_long_as_there_is_one(
    client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    for name in ("ids", "vs_currencies"):
        schema = await parameter(client, "/api/v3/simple/price", name)
        assert schema["items"] == {"type": "string"}
        for names in ("NO coin!", ",bitcoin", "", " ", ",", "\x1d", "\x85"):
            given = {"ids": "bitcoin", "vs_currencies": "usd"} | {name: names}
            answer = await client.get("/api/v3/simple/price", params=given, headers=bearer)
            is_one = any(re.search(schema["contains"]["pattern"], one, re.ASCII) for one in names.split(","))
            assert answer.status_code == (200 if is_one else 422), names


async def test_ids_that_are_given_again_are_not_told_to_be_too_many(
    client: httpx.AsyncClient, bearer: dict[str, str]
) -> None:
    assert "maxItems" not in await parameter(client, "/v1/prices", "ids")
    answer = await client.get("/v1/prices", params={"ids": ",".join(["bitcoin"] * 251)}, headers=bearer)
    assert answer.status_code == 200


async def test_what_is_left_out_is_not_told_to_be_null(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    schemas = [one["schema"] for _, operation in operations(document) for one in operation["parameters"]]
    assert all(isinstance(schema["type"], str) for schema in schemas)


async def test_a_cursor_is_told_to_begin_with_a_date_and_the_page_not_to_be_sent_along(
    client: httpx.AsyncClient,
) -> None:
    path = "/v1/price/{coinId}/history"
    assert re.match((await parameter(client, path, "before"))["pattern"], "") is None
    assert "default" not in await parameter(client, path, "page")


async def test_the_header_that_chooses_freshness_is_documented(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    for path in ("/v1/price/{coinId}", "/v1/prices"):
        parameters = document["paths"][path]["get"]["parameters"]
        (header,) = [parameter for parameter in parameters if parameter["in"] == "header"]
        assert header["name"] == "Cache-Control"
        assert header["schema"] == {"type": "string", "examples": ["max-age=30"]}


async def test_headers_are_documented(client: httpx.AsyncClient) -> None:
    document = await document_of(client)
    responses = document["paths"]["/v1/price/{coinId}"]["get"]["responses"]
    batch = {"X-Batch-Id", "X-Batch-Size", "X-Batch-Trigger", "Server-Timing"}
    assert set(responses["200"]["headers"]) == LIMITS | batch | {"Age", "Cache-Control", "X-Request-Id"}
    assert set(responses["400"]["headers"]) == {"X-Request-Id"}
    assert set(responses["401"]["headers"]) == {"WWW-Authenticate", "X-Request-Id"}
    assert set(responses["429"]["headers"]) == LIMITS | {"Retry-After", "X-Request-Id"}
    assert set(responses["504"]["headers"]) == LIMITS | {"X-Request-Id"}


async def test_the_page_and_all_it_loads_come_from_here(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self';")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(assets) == 4
    for asset in assets:
        answer = await client.get(f"/{asset}")
        assert answer.status_code == 200, asset
        assert answer.content


async def test_neither_page_nor_script_names_another_host(client: httpx.AsyncClient) -> None:
    for path in ("/docs", "/docs/docs.js"):
        text = (await client.get(path)).text
        assert "//" not in text.replace("// The validator", "")
    assert "validatorUrl: null" in (await client.get("/docs/docs.js")).text


async def test_assets_may_be_kept_and_asked_for_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/docs/swagger-ui.css")
    assert first.headers["Cache-Control"] == "public, max-age=3600"
    again = await client.get("/docs/swagger-ui.css", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
