"""What `cryptopulse dev` and the tests need beside the server: real servers from wheels, processes, a state folder.

with running_valkey(folder) as valkey, running_postgres(folder) as postgres:
    ...                     # valkey.url, postgres.url; .stop() and .start() keep port and files
"""

from server.local.postgres import LocalPostgres, running_postgres
from server.local.service import LocalServiceError
from server.local.valkey import LocalValkey, running_valkey

__all__ = ["LocalPostgres", "LocalServiceError", "LocalValkey", "running_postgres", "running_valkey"]
