"""Settings as they may be shown: no secret in them.

shown(settings)["redis_url"]        # 'redis://***@127.0.0.1:6379/0'
"""

from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from core.settings import Settings

MASK = "***"
_URLS = frozenset({"database_url", "redis_url"})


def shown(settings: Settings) -> dict[str, Any]:
    """{name: value}, as JSON has values."""
    secrets = {name: value.get_secret_value() for name, value in settings if isinstance(value, SecretStr)}
    told = {name: _masked_url(value) if name in _URLS else MASK for name, value in secrets.items()}
    plain: dict[str, Any] = settings.model_dump(mode="json")
    return plain | told


def _masked_url(url: str) -> str:
    """Where a URL leads, and nothing else of it."""
    parts = urlsplit(url)
    # A password with a '/', '?' or '#' that was not encoded is no longer where passwords are.
    if "@" in parts.path + parts.query + parts.fragment:
        return MASK
    user, at, host = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{MASK if user else ''}{at}{host}{parts.path}" + (f"?{MASK}" if parts.query else "")
