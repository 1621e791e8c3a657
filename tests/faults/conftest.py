"""A Valkey and a Postgres of our own, made to be broken; and the map of what breaks them.

    checker, evidence          which promise a history breaks; pure
    history                    what happened, as frozen structs and as JSON lines
    traffic, outages           who asks for what; what becomes of Redis and Postgres
    fleet                      instances, their wires, one record of it all
    clients, http              requests, and exactly how each ended
    moments                    where in a flush an instance dies or stalls
    instance, servers          processes, and what can be done to them
    witness, wire, record      what is seen on an instance's wires
    upstream, proxy            prices that tell who gave them; a network that misbehaves
    figures, scale             what long runs measured; how long they are

The short set runs with all other tests; the long one is marked `faults`.
"""

from collections.abc import Iterator

import pytest

from core import migrate
from server.local import running_postgres, running_valkey
from tests.faults.servers import Postgres, Servers, Valkey


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A Valkey that is synced always, and a Postgres that is up to date."""
    folder = tmp_path_factory.mktemp("valkey")
    with (
        running_valkey(folder, appendfsync="always") as valkey,
        running_postgres(tmp_path_factory.mktemp("postgres"), durable=False) as postgres,
    ):
        migrate.upgrade(postgres.url)
        yield Servers(Valkey(valkey, folder), Postgres(postgres))
