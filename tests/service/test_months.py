"""What an instance does for the months of prices, on real parts."""

from datetime import UTC, datetime, timedelta

from tests.conftest import Sql
from tests.service.conftest import StartInstance
from tests.waiting import until

MONTHS = "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'prices'::regclass"


async def test_an_instance_makes_the_coming_months_and_drops_those_beyond_the_retention(
    start_instance: StartInstance, database_url: str, sql: Sql
) -> None:
    next_month = f"prices_{datetime.now(UTC).replace(day=1) + timedelta(days=31):%Y_%m}"
    sql(database_url, f"DROP TABLE IF EXISTS {next_month}")
    sql(database_url, "SELECT ensure_prices_partition('1970-02-28T12:00Z')")
    sql(database_url, f"SELECT ensure_prices_partition('{datetime.now(UTC).isoformat()}')")
    await start_instance(history_retention="36500d")

    def months() -> set[str]:
        return {row["name"] for row in sql(database_url, MONTHS)}

    await until(lambda: next_month in months())
    assert "prices_1970_02" in months()
    await start_instance(history_retention="18250d")  # fifty years, so that it is this month alone
    await until(lambda: "prices_1970_02" not in months())
    assert {next_month, f"prices_{datetime.now(UTC):%Y_%m}"} <= months()
