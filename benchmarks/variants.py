"""What is compared: the service as it is shipped, and with parts of it switched off or on; a name, and what is set.

SHIPPED.terms(latency_ms=100)           # for the simulation
SHIPPED.settings, SHIPPED.headers       # for real instances and their clients
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from core.settings import Settings
from core.simulation import Terms

A_MINUTE = 30  # of CoinGecko's free plan
MAX_AGE_S = 30
OUT_OF_REACH = 1_000_000  # as a threshold


class Variant(msgspec.Struct, frozen=True):
    """One way to run the service, or to ask it; `settings` are environment variables."""

    name: str
    meaning: str
    settings: Mapping[str, str] = {}
    max_age_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What its clients send."""
        return {} if self.max_age_s is None else {"Cache-Control": f"max-age={self.max_age_s}"}

    def terms(self, *, latency_ms: float, limit_a_minute: int | None = None) -> Terms:
        """The same, for the simulation."""
        per_minute = self.settings.get("UPSTREAM_CALLS_PER_MINUTE")
        return Terms(
            window_s=shipped("batch_window_ms") / 1000,
            threshold=int(self.settings.get("BATCH_THRESHOLD", shipped("batch_threshold"))),
            result_timeout_s=shipped("batch_result_timeout_ms") / 1000,
            ride_along=self.settings.get("BATCH_RIDE_ALONG") != "false",
            max_ids=shipped("upstream_max_ids"),
            calls_per_minute=int(per_minute) if per_minute else None,
            upstream_latency_s=latency_ms / 1000,
            upstream_timeout_s=shipped("upstream_timeout_ms") / 1000,
            upstream_limit_a_minute=limit_a_minute,
        )


def shipped(setting: str) -> int:
    """The default of a setting that is a number."""
    return int(Settings.model_fields[setting].default)


OFF = Variant(
    "no batching",
    "`BATCH_THRESHOLD=1`, `BATCH_RIDE_ALONG=false`: a call a request; who comes while a call for the coin is under way "
    "shares the next one",
    {"BATCH_THRESHOLD": "1", "BATCH_RIDE_ALONG": "false"},
)
ORIGINAL = Variant(
    "original", "`BATCH_RIDE_ALONG=false`: a call for each batch of each coin", {"BATCH_RIDE_ALONG": "false"}
)
SHIPPED = Variant("ride-along", "as shipped: what is open goes along with every call")
BUDGET = Variant(
    "budget",
    f"`UPSTREAM_CALLS_PER_MINUTE={A_MINUTE}`: calls are spaced, and carry all that waits",
    {"UPSTREAM_CALLS_PER_MINUTE": str(A_MINUTE)},
)
FRESHNESS = replace(
    BUDGET,
    name="freshness",
    meaning=f"the same, and clients send `Cache-Control: max-age={MAX_AGE_S}`",
    max_age_s=MAX_AGE_S,
)
PATIENT = Variant(
    "no threshold",
    f"`BATCH_THRESHOLD={OUT_OF_REACH}`: everybody waits for the window's end, and all share it",
    {"BATCH_THRESHOLD": str(OUT_OF_REACH)},
)
VARIANTS = (OFF, ORIGINAL, SHIPPED, BUDGET, FRESHNESS, PATIENT)
