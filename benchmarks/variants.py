"""What is compared: the service as it is shipped, and with parts of it switched off or on; a name, and what is set.

[off, shipped] = chosen("off,ride-along", limit_per_minute=None)
"""

from collections.abc import Mapping

import msgspec


class Variant(msgspec.Struct, frozen=True):
    """One way to run the service; `settings` are environment variables."""

    name: str
    settings: Mapping[str, str]
    meaning: str


_OFF = Variant(
    "off",
    {"BATCH_THRESHOLD": "1", "BATCH_RIDE_ALONG": "false"},
    "every request is a full batch of its own. Requests that arrive while a call for their coin is under way still "
    "share the next one.",
)
_ORIGINAL = Variant("original", {"BATCH_RIDE_ALONG": "false"}, "a call for each batch of each coin.")
_RIDE_ALONG = Variant("ride-along", {}, "what is open goes along with every call.")


def chosen(names: str, limit_per_minute: int | None) -> list[Variant]:
    """The variants of these names, with commas between, in their order; or raise ValueError."""
    known = {variant.name: variant for variant in (_OFF, _ORIGINAL, _RIDE_ALONG)}
    if limit_per_minute:
        known["budget"] = _budget(limit_per_minute)
    try:
        return [known[name] for name in names.split(",")]
    except KeyError as error:
        raise ValueError(
            f"no variant {error}: there are {', '.join(known)}, and with a limit a minute budget"
        ) from None


def _budget(limit_per_minute: int) -> Variant:
    settings = {"UPSTREAM_CALLS_PER_MINUTE": str(limit_per_minute)}
    return Variant("budget", settings, "calls are spaced so that the upstream's limit is never reached.")
