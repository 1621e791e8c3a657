"""The documents say what the code says."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, get_args

import annotated_types
import click
import msgspec
import pytest
from pydantic.fields import FieldInfo

from core import errors, events, keys
from core.settings import SECRETS, Settings
from cryptopulse import main
from server import openapi
from server.app import create_app  # with it every error is loaded
from server.errors import answer_to
from server.traffic import pattern
from tests.server.fakes import World, http_client

REPOSITORY = Path(__file__).parents[1]
# Folders whose documents are not ours, or that the repository does not hold.
FOREIGN = {"node_modules", "dist", "results"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
# What stands for a file: a path below one of our folders, or a bare name with one of our endings.
PATH_NAME = re.compile(
    r"(?<![\w./<-])(?:core|server|monitor|simulator|tests|benchmarks|docs|deploy|\.ci)/[\w./-]*[\w/]"
)
FILE_NAME = re.compile(r"(?<![\w./*<-])[\w.-]*\w\.(?:py|lua|toml|txt|yml|yaml|md|tcss|csv)\b(?!\()")

Row = list[str]


def read(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


@cache
def files() -> frozenset[Path]:
    """Every file of the repository, relative to its root."""

    def below(folder: Path) -> Iterator[Path]:
        for path in folder.iterdir():
            if path.is_dir():
                hidden = path.name.startswith(".") and path.name != ".ci"
                if not hidden and path.name not in FOREIGN | {"__pycache__"}:
                    yield from below(path)
            else:
                yield path.relative_to(REPOSITORY)

    return frozenset(below(REPOSITORY))


@cache
def folders() -> frozenset[Path]:
    return frozenset(folder for path in files() for folder in path.parents)


def documents() -> list[str]:
    return sorted(str(path) for path in files() if path.suffix == ".md")


def rows(text: str) -> dict[str, Row]:
    """{what stands in the first cell of a table's row, without ticks: the other cells}."""
    found: dict[str, Row] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *others = [cell.strip() for cell in line.strip("|").split("|")]
            found[first.strip("`")] = others
    return found


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second rank."""
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"there is no section '{heading}'"
    return rest.partition("\n## ")[0]


def fields_told(text: str) -> set[str]:
    """What the first cells of tables name, several to a cell."""
    return {name for first in rows(text) for name in re.split(r"[`, ]+", first)}


def anchors(text: str) -> set[str]:
    """The names under which a page's headings are linked to, as GitHub makes them."""
    prose = FENCE.sub("", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(prose)}


def links() -> list[tuple[str, str]]:
    return [(name, link) for name in documents() for link in LINK.findall(FENCE.sub("", read(name)))]


def subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def all_errors() -> list[type[errors.CryptoPulseError]]:
    tree: Any = {errors.CryptoPulseError, *subclasses(errors.CryptoPulseError)}
    ours = {error for error in tree if error.__module__.startswith(("core", "server"))}
    return sorted(ours, key=lambda error: str(error.__name__))


def event_types() -> tuple[type[msgspec.Struct], ...]:
    return get_args(events.Event)


def event_parts() -> list[type[msgspec.Struct]]:
    """What messages hold that is neither an event nor told of under a heading of its own."""
    structs = [each for each in vars(events).values() if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    return [each for each in structs if each not in {*event_types(), events.Message, events.Snapshot, msgspec.Struct}]


def event_fields_told(text: str) -> set[str]:
    """What the first table of a text names, without its head."""
    _, _, table = text.partition("| --- | --- |\n")
    return fields_told(re.split(r"\n(?!\|)", table)[0]) - {""}


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.MULTILINE))


def default_told(field: FieldInfo) -> str:
    """A setting's default as the document writes it."""
    if field.is_required():
        return "required"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return {None: "none", (): "empty"}.get(field.default, str(field.default))


def bounds_told(field: FieldInfo) -> str:
    """A whole number's bounds as the document writes them; nothing for other settings."""
    lowest = highest = ""
    for bound in field.metadata:
        if isinstance(bound, annotated_types.Gt):
            lowest = str(int(str(bound.gt)) + 1)
        if isinstance(bound, annotated_types.Ge):
            lowest = str(bound.ge)
        if isinstance(bound, annotated_types.Le):
            highest = str(bound.le)
    return f"{lowest} to {highest}" if lowest else ""


SETTINGS: Mapping[str, FieldInfo] = {name.upper(): field for name, field in Settings.model_fields.items()}


SECRET_FILES = {f"{name.upper()}_FILE" for name in SECRETS}


class TestConfiguration:
    def test_every_setting_is_there_and_no_other(self) -> None:
        told = {name for name in rows(read("docs/configuration.md")) if name.isupper()}
        assert told == set(SETTINGS)

    @pytest.mark.parametrize("name", SETTINGS)
    def test_a_default_is_the_codes(self, name: str) -> None:
        default, *_ = rows(read("docs/configuration.md"))[name]
        assert default == default_told(SETTINGS[name])

    @pytest.mark.parametrize("name", SETTINGS)
    def test_what_is_allowed_is_the_codes(self, name: str) -> None:
        _, _, allowed, _ = rows(read("docs/configuration.md"))[name]
        assert bounds_told(SETTINGS[name]) in allowed
        for choice in get_args(SETTINGS[name].annotation) if name == "LOG_LEVEL" else ():
            assert choice in allowed

    def test_no_document_names_a_setting_that_is_none(self) -> None:
        shape = re.compile(r"\b(?:BATCH|THROTTLE|UPSTREAM|COINGECKO|JWT|MAX|COMPAT)_[A-Z_]+\b")
        for name in documents():
            assert set(shape.findall(read(name))) <= {*SETTINGS, *SECRET_FILES}, name

    def test_every_secret_that_may_be_in_a_file_is_there(self) -> None:
        told = section(read("docs/configuration.md"), "Who may come in").partition("### Secrets from files")[2]
        assert set(re.findall(r"`([A-Z_]+)`", told)) - {"_FILE"} == {name.upper() for name in SECRETS}


class TestErrors:
    @pytest.mark.parametrize("error", all_errors())
    def test_a_class_is_there_with_its_status(self, error: type[errors.CryptoPulseError]) -> None:
        status, *_ = rows(section(read("docs/errors.md"), "By class"))[error.__name__]
        assert status == str(error.status)

    def test_no_class_is_there_that_is_none(self) -> None:
        told = set(rows(section(read("docs/errors.md"), "By class"))) - {"class", "---"}
        assert told == {error.__name__ for error in all_errors()}

    @pytest.mark.parametrize(
        "error",
        [errors.RedisUnavailable(), errors.HistoryUnavailable(), errors.OutboxFull(), errors.ShuttingDown()],
        ids=lambda error: type(error).__name__,
    )
    def test_a_wait_is_the_one_that_is_sent(self, error: errors.CryptoPulseError) -> None:
        *_, wait = rows(section(read("docs/errors.md"), "By class"))[type(error).__name__]
        assert answer_to(error).headers == {"Retry-After": wait}

    def test_every_status_of_the_api_is_there_with_what_to_do(self) -> None:
        statuses = {str(error.status) for error in all_errors()} | {str(status) for status in openapi._ERRORS} | {"405"}
        text = read("docs/errors.md")
        assert statuses <= set(rows(section(text, "By status")))
        assert statuses <= fields_told(section(text, "What a client does"))

    def test_examples_have_the_form_of_an_error(self) -> None:
        bodies = re.findall(r"^\{.*\}$", read("docs/errors.md"), re.MULTILINE)
        assert len(bodies) > 5
        for body in map(json.loads, bodies):
            assert list(body) == ["statusCode", "message", "error"]
            assert body["error"] == HTTPStatus(body["statusCode"]).phrase


class TestEvents:
    @pytest.mark.parametrize("event", event_types())
    def test_an_event_is_there_with_its_type(self, event: type[msgspec.Struct]) -> None:
        told = section(read("docs/events.md"), event.__name__)
        assert f'`"type": "{event.__struct_config__.tag}"`' in told

    @pytest.mark.parametrize("event", event_types())
    def test_its_fields_are_there(self, event: type[msgspec.Struct]) -> None:
        assert set(event.__struct_fields__) == event_fields_told(section(read("docs/events.md"), event.__name__))

    @pytest.mark.parametrize("part", [events.Message, events.Snapshot])
    def test_what_every_message_holds_is_there(self, part: type[msgspec.Struct]) -> None:
        assert set(part.__struct_fields__) == event_fields_told(section(read("docs/events.md"), part.__name__))

    @pytest.mark.parametrize("view", event_parts())
    def test_what_is_told_in_lists_and_parts_is_there(self, view: type[msgspec.Struct]) -> None:
        _, found, told = read("docs/events.md").partition(f"\nA `{view.__name__}`")
        assert found
        assert set(view.__struct_fields__) == event_fields_told(told)
        assert ("as a list" in told.partition("|")[0]) == view.__struct_config__.array_like

    def test_its_bounds_and_the_places_of_its_histograms_are_there(self) -> None:
        text = read("docs/events.md")
        assert ", ".join(map(str, events.HISTOGRAM_MS[:-1])) + " and 10000 ms" in text.replace("\n", " ")
        assert f"the latest {events.MOST_EVENTS}" in text
        assert f"the {events.MOST_BATCHES} due first" in text
        assert f"the first {events.MOST_BATCHES}" in text
        assert f"the {events.MOST_COINS} coins" in text
        assert f"the {events.MOST_CALLERS} callers" in text
        assert f"a list of {events.BUCKETS} `Bucket`" in text
        assert f"| `version` | {events.VERSION};" in text


class TestRedis:
    def test_every_script_is_there(self) -> None:
        parts = {"limit", "time", "budget", "claiming", "learn"}
        scripts = {path.stem for path in files() if path.suffix == ".lua"} - parts
        told = {name for name in rows(read("core/lua/README.md")) if re.fullmatch(r"[a-z]+", name)}
        assert told - {"script", "name"} == scripts
        for part in parts:
            assert f"`{part}`" in read("core/lua/README.md")

    @pytest.mark.parametrize(
        "name", [value for name, value in vars(keys).items() if name.isupper() and name != "PREFIX"]
    )
    def test_every_channel_and_stream_is_there(self, name: str) -> None:
        assert name in rows(section(read("docs/architecture.md"), "What is in Redis"))


class TestCommands:
    @pytest.mark.parametrize("target", sorted(make_targets()))
    def test_a_make_target_is_there(self, target: str) -> None:
        assert f"make {target}" in rows(read("CONTRIBUTING.md"))

    @pytest.mark.parametrize("command", sorted(main.commands))
    def test_a_command_is_there_with_its_options(self, command: str) -> None:
        told = next(line for line in read("README.md").splitlines() if line.startswith(f"| `cryptopulse {command}"))
        options = {
            name
            for parameter in main.commands[command].params
            if isinstance(parameter, click.Option)
            for name in parameter.opts
        }
        assert set(re.findall(r"--[a-z-]+", told)) <= options
        if command == "dev":
            assert options <= set(re.findall(r"--[a-z-]+", told))

    def test_no_document_names_a_command_that_is_none(self) -> None:
        for name in documents():
            text = read(name)
            assert set(re.findall(r"`cryptopulse ([a-z]+)", text)) <= set(main.commands), name
            assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= make_targets(), name


def all_endpoints() -> set[str]:
    """Those of the app, but for the files of its pages."""
    return {
        f"{method} {pattern(rule)}"
        for rule in create_app(World().services()).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
        if not rule.rule.startswith("/docs/<")
    }


def endpoints_told(text: str) -> dict[str, Row]:
    """{what stands in ticks in the first cell of a table's row: the other cells}."""
    return {found[1]: cells for first, cells in rows(text).items() if (found := re.search(r"([A-Z]+ /[^`]*)", first))}


class TestApi:
    @pytest.fixture
    async def operations(self) -> dict[str, dict[str, Any]]:
        """{method and path: what the OpenAPI document says}."""
        async with http_client(create_app(World().services())) as client:
            paths = (await client.get("/docs-json")).json()["paths"]
        return {f"{method.upper()} {path}": told for path, methods in paths.items() for method, told in methods.items()}

    @pytest.fixture
    def told(self) -> dict[str, Row]:
        return endpoints_told(section(read("docs/api.md"), "Endpoints").partition("\nBeside these")[0])

    async def test_every_endpoint_is_there_and_no_other(
        self, operations: dict[str, dict[str, Any]], told: dict[str, Row]
    ) -> None:
        assert set(told) == set(operations)
        page = read("docs/api.md")
        assert set(endpoints_told(section(page, "Endpoints"))) == all_endpoints()
        assert set(re.findall(r"\b(?:GET|HEAD|POST|PUT|PATCH|DELETE) /[\w/{}-]+", page)) == all_endpoints()

    async def test_it_takes_and_answers_what_the_document_says(
        self, operations: dict[str, dict[str, Any]], told: dict[str, Row]
    ) -> None:
        for name, operation in operations.items():
            who, takes, _, errors = told[name]
            schemes = {scheme for choice in operation.get("security", []) for scheme in choice}
            assert schemes == {"all": set(), "token": {"bearer"}, "key": {"apiKey", "bearer"}}[who]
            assert set(re.findall(r"`(\S+)`", takes)) == parameters_of(operation)
            assert {"200", *errors.split(", ")} - {""} == set(operation["responses"])

    async def test_the_headers_are_those_of_the_document(
        self, operations: dict[str, dict[str, Any]], told: dict[str, Row]
    ) -> None:
        groups: dict[str, set[str]] = {}
        for names, group in re.findall(r"^\| (`[A-Z].*?) \| ([a-z ]+) \|", read("docs/api.md"), re.MULTILINE):
            groups.setdefault(group, set()).update(re.findall(r"[\w-]+", names))
        for name, operation in operations.items():
            ours = [groups.get(part, {part.strip("`")}) for part in told[name][2].split(", ") if part]
            assert groups["every answer"].union(*ours) == set(operation["responses"]["200"]["headers"]), name


def parameters_of(operation: dict[str, Any]) -> set[str]:
    """Names in the path, the query, the headers and the body."""
    body = operation.get("requestBody", {"content": {"": {"schema": {"properties": {}}}}})["content"]
    fields = {name for content in body.values() for name in content["schema"]["properties"]}
    return fields | {parameter["name"] for parameter in operation.get("parameters", [])}


def test_every_endpoint_is_in_the_readme() -> None:
    told = " ".join(rows(read("README.md")))
    for endpoint in all_endpoints() - {"GET /docs/errors"}:
        assert endpoint.partition(" ")[2] in told


@pytest.mark.parametrize(("name", "link"), links())
def test_a_link_leads_somewhere(name: str, link: str) -> None:
    if link.startswith(("http://", "https://")):
        return
    target, _, anchor = link.partition("#")
    path = ((REPOSITORY / name).parent / target).resolve() if target else REPOSITORY / name
    relative = path.relative_to(REPOSITORY)
    assert relative in files() | folders()
    if anchor:
        assert anchor in anchors(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", [name for name in documents() if name != "CHANGELOG.md"])
def test_a_file_that_is_named_exists(name: str) -> None:
    text = LINK.sub("", read(name))
    for path in PATH_NAME.findall(text):
        assert Path(path) in files() | folders(), path
    names = {path.name for path in files()}
    for file_name in FILE_NAME.findall(PATH_NAME.sub("", text)):
        assert file_name in names, file_name


def test_every_decision_is_in_the_index() -> None:
    pages = {path.name for path in files() if re.fullmatch(r"\d{4}-.*\.md", path.name)}
    assert pages == set(LINK.findall(read("docs/decisions/README.md")))
    for page in pages:
        headings = HEADING.findall(read(f"docs/decisions/{page}"))
        assert headings[0].startswith(f"{int(page[:4])}. ")
        assert headings[1:] == ["Context", "Decision", "Consequence"]
