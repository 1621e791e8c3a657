"""`/docs` in a real browser: whoever comes there logs in, authorises and gets a price, without another tool."""

import json
from pathlib import Path
from typing import Any

import trio

from tests.browser import Tab, chromium, open_tab
from tests.monitor.conftest import run_plain
from tests.service.conftest import StartInstance

LOGIN = "#operations-auth-login"
PRICE = "#operations-prices-price"


async def try_out(tab: Tab, operation: str) -> tuple[str, Any]:
    """Execute an operation with what the page fills in; give the status and the body that it shows."""
    await tab.click(f"{operation} .opblock-summary-control")
    await tab.click(f"{operation} .try-out__btn")
    await tab.click(f"{operation} .execute")
    status = await tab.text(f"{operation} .live-responses-table .response .response-col_status")
    body = await tab.text(f"{operation} .live-responses-table .response .highlight-code code")
    return status, json.loads(body)


async def authorise(tab: Tab, token: str) -> None:
    await tab.click(".auth-wrapper .authorize")
    await tab.type("#auth-bearer-value", token)
    await tab.click(".auth-container:has(#auth-bearer-value) .authorize")
    await tab.click(".btn-done")


async def get_a_price(port: int, url: str) -> None:
    async with open_tab(port, f"{url}/docs") as tab:
        status, login = await try_out(tab, LOGIN)
        assert (status, login["tokenType"]) == ("200", "Bearer")
        await authorise(tab, login["accessToken"])

        status, price = await try_out(tab, PRICE)
        assert status == "200"
        assert (price["coinId"], price["vsCurrency"]) == ("bitcoin", "usd")
        assert price["price"] > 0
        foreign = [asked for asked in tab.requested if not asked.startswith((url, "data:"))]
        assert (foreign, tab.failed) == ([], [])


async def test_whoever_opens_the_page_logs_in_authorises_and_gets_a_price(
    start_instance: StartInstance, tmp_path: Path
) -> None:
    # The password that the page shows.
    url = await start_instance(batch_window_ms=50, admin_pass="correct horse")
    with chromium(tmp_path) as port:
        await trio.to_thread.run_sync(run_plain, get_a_price(port, url))
