"""What may be shown of settings."""

import pytest

from core.shown_settings import shown
from tests.core.model import settings_for_tests


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://ann:canary@host:1/db?password=canary", "postgresql://***@host:1/db?***"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://ann:p%40canary@host/db", "postgresql://***@host/db"),
        ("postgresql://ann:p@canary@host/db", "postgresql://***@host/db"),
        ("postgresql://ann:1/canary@host/db", "***"),
        ("postgresql://ann:1?canary@host/db", "***"),
        ("postgresql://ann:1#canary@host/db", "***"),
        ("postgresql:///db?host=/run", "postgresql:///db?***"),
    ],
)
def test_of_a_url_only_where_it_leads_is_shown(url: str, told: str) -> None:
    assert shown(settings_for_tests(database_url=url))["database_url"] == told


def test_no_secret_is_shown() -> None:
    secret = "canary-of-at-least-thirty-two-bytes"
    secrets = {
        "jwt_secret": secret,
        "jwt_secret_previous": secret,
        "admin_pass": "canary://x",
        "coingecko_api_key": secret,
    }
    told = shown(settings_for_tests(**secrets))
    assert {told[name] for name in secrets} == {"***"}
    assert "canary" not in str(told)
    assert shown(settings_for_tests())["coingecko_api_key"] is None
