"""One request, as handlers see it whoever serves it: what it says, what is known of it, and the services.

asked = current()                               # in a route
asked = Asked(services, scope)                  # in front of all routes
asked.header("authorization"), asked.query()
"""

from typing import cast
from urllib.parse import parse_qsl

from quart import request

from server.http1.asgi import Scope
from server.notes import notes_of
from server.services import Services, services


class Asked:
    """A request by its ASGI scope, and what became known of it."""

    __slots__ = ("notes", "scope", "services")

    def __init__(self, services: Services, scope: Scope) -> None:
        self.services = services
        self.scope = scope
        self.notes = notes_of(scope)

    def header(self, name: str) -> list[str]:
        """The values of all headers of a name, which is given in lower case."""
        wanted = name.encode()
        return [value.decode("latin-1") for header, value in self.scope["headers"] if header == wanted]

    def query(self) -> dict[str, list[str]]:
        """The parameters of the query, each with its values in their order."""
        return query_of(self.scope["query_string"])


def query_of(text: bytes) -> dict[str, list[str]]:
    """The parameters of a query, each with its values in their order."""
    parameters: dict[str, list[str]] = {}
    if text:
        for name, value in parse_qsl(text.decode(errors="replace"), keep_blank_values=True):
            parameters.setdefault(name, []).append(value)
    return parameters


def current() -> Asked:
    """The request that the current route answers."""
    return Asked(services(), cast("Scope", request.scope))
