"""What Prometheus is told: by real instances, as docs/metrics.md says, and enough for docs/alerts.yml."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from core import keys
from tests.service.conftest import ClientFor, StartInstance
from tests.service.test_batching import QUICK, get_all

DOCS = Path(__file__).parents[2] / "docs"
LIMITS = {"upstream_calls_per_minute": 600, "upstream_calls_per_month": 10_000}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def families(url: str) -> list[Metric]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return list(text_string_to_metric_families(answer.text))


def samples(told: Iterable[Metric]) -> Samples:
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for one in told for each in one.samples}


def value(scraped: Samples, name: str, **labels: str) -> float:
    return scraped[f"cryptopulse_{name}", tuple(sorted(labels.items()))]


async def scrape(url: str) -> Samples:
    return samples(await families(url))


def documented() -> dict[str, tuple[str, str]]:
    """{name: type and labels} of docs/metrics.md."""
    rows = re.findall(
        r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?) ?\|", (DOCS / "metrics.md").read_text(), re.MULTILINE
    )
    return {name: (kind, labels) for name, kind, labels in rows}


def name_of(family: Metric) -> str:
    return family.name + ("_total" if family.type == "counter" else "")


@pytest.fixture
async def told(start_instance: StartInstance, client_for: ClientFor) -> list[Metric]:
    """What an instance tells that has answered, refused and failed."""
    url = await start_instance(**QUICK, **LIMITS)
    ann = await client_for(url)
    await get_all([(ann, "/v1/price/bitcoin"), (ann, "/v1/price/nocoin"), (ann, "/health/ready"), (ann, "/nowhere/1")])
    return await families(url)


async def test_every_metric_is_documented_and_no_other(told: list[Metric]) -> None:
    assert {name_of(family): family.type for family in told} == {name: kind for name, (kind, _) in documented().items()}


async def test_labels_and_their_values_are_those_of_the_document(told: list[Metric]) -> None:
    for family in told:
        _, cell = documented()[name_of(family)]
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert labels == {part.split("`")[1] for part in re.split("; |^$", cell) if part}, family.name
        for sample in family.samples:
            for label in labels - {"route", "status", "version", "python"}:
                assert f"`{sample.labels[label]}`" in cell


async def test_alerts_ask_for_nothing_that_nobody_tells(told: list[Metric]) -> None:
    names = {sample.name for family in told for sample in family.samples} | {"up"}
    labels = {label for family in told for sample in family.samples for label in sample.labels} | {"job", "instance"}
    [group] = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert set(re.findall(r"\b(?:cryptopulse_\w+|up)\b", rule["expr"])) <= names, rule["alert"]
        assert "cryptopulse" in rule["expr"]
        assert set(re.findall(r"(\w+)[!=]~?\"", rule["expr"])) <= labels, rule["alert"]
        assert rule["annotations"]["summary"]


def test_what_to_do_about_each_alert_is_told() -> None:
    [group] = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    told = re.findall(r"^\| `(CryptoPulse\w+)`", (DOCS / "operating.md").read_text(), re.MULTILINE)
    assert told == [rule["alert"] for rule in group["rules"]]


async def test_over_instances_sums_are_exact_and_what_is_shared_is_told_alike(
    start_instance: StartInstance, client_for: ClientFor, database_url: str
) -> None:
    urls = [await start_instance(**LIMITS) for _ in range(3)]
    clients = [await client_for(url, f"user-{number}") for number, url in enumerate(urls)]
    await get_all([(client, "/v1/price/bitcoin") for client in clients])
    one, other, third = [await scrape(url) for url in urls]

    def total(name: str, **labels: str) -> float:
        return sum(value(scraped, name, **labels) for scraped in (one, other, third))

    assert total("price_requests_total") == total("price_answers_total", outcome="answered") == 3
    assert total("wait_seconds_count") == 3
    assert total("http_requests_total", route="/v1/price/{coinId}", status="200") == 3
    assert total("batches_opened_total") == total("batches_total", trigger="threshold") == 1
    assert total("upstream_calls_total", purpose="prices", outcome="answered") == 1
    assert total("upstream_call_coins_sum") == total("upstream_call_seconds_count") == 1
    for name in ("month_calls", "month_calls_left", "month_calls_limit"):
        assert value(one, name) == value(other, name) == value(third, name)
    assert (value(one, "month_calls"), value(one, "month_calls_left")) == (1, 9999)


async def test_refusals_are_counted_by_limit(start_instance: StartInstance, client_for: ClientFor) -> None:
    url = await start_instance(throttle_global_limit=1, throttle_login_limit=1)
    ann = await client_for(url)
    for _ in range(3):
        await ann.get("/v1/price/bitcoin/history")
        await ann.post("/auth/login", json={"username": "admin", "password": "no"})
    scraped = await scrape(url)
    assert [value(scraped, "limited_total", limit=limit) for limit in ("user", "login")] == [2, 2]
    assert value(scraped, "http_requests_total", route="/v1/price/{coinId}/history", status="429") == 2
    assert value(scraped, "http_requests_total", route="/auth/login", status="401") == 1


async def test_both_ways_to_a_price_are_one_route_and_what_is_none_is_other(
    start_instance: StartInstance, client_for: ClientFor
) -> None:
    url = await start_instance()
    ann = await client_for(url)
    # Quart's own way is for what the short one leaves alone.
    for path in ("/v1/price/a b", "/v1/price/A!", "/nowhere/1", "/nowhere/2"):
        await ann.get(path)
    await ann.delete("/v1/price/bitcoin")
    scraped = await scrape(url)
    assert value(scraped, "http_requests_total", route="/v1/price/{coinId}", status="400") == 2
    assert value(scraped, "http_requests_total", route="other", status="404") == 2
    assert value(scraped, "http_requests_total", route="other", status="405") == 1


async def test_the_outbox_tells_how_long_its_oldest_price_waits(
    start_instance: StartInstance, valkey: Any, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        seconds, _ = client.time()
        client.xadd(keys.OUTBOX, {"price": "1"}, id=f"{(seconds - 3600) * 1000}-0")
        client.xgroup_create(keys.OUTBOX, "history", id="$")  # so that nobody takes it
        client.xadd(keys.OUTBOX_REFUSED, {"why": "no price"})
        scraped = await scrape(await start_instance())
    assert (value(scraped, "outbox_prices"), value(scraped, "outbox_refused")) == (1, 1)
    assert 3600 <= value(scraped, "outbox_oldest_seconds") < 3660


async def test_without_redis_an_instance_tells_of_itself_alone(start_instance: StartInstance) -> None:
    url = await start_instance(redis_url="redis://127.0.0.1:9", **LIMITS)
    scraped = await scrape(url)
    assert value(scraped, "redis_up") == 0
    assert value(scraped, "minute_calls_limit") == 600
    names = {name for name, _ in scraped}
    assert names.isdisjoint({"cryptopulse_outbox_prices", "cryptopulse_month_calls", "cryptopulse_next_call_seconds"})


async def test_metrics_need_no_token_and_are_charged_to_nobody(start_instance: StartInstance, redis_url: str) -> None:
    url = await start_instance()
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{url}/metrics")
    assert answer.status_code == 200
    assert "X-RateLimit-Limit" not in answer.headers
    with redis.Redis.from_url(redis_url) as client_of_redis:
        assert client_of_redis.keys("*limit*") == []
