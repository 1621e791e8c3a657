"""What can be told to the simulator, at its start and while it runs."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from simulator.failures import AnyFailure, Failure
from simulator.market import Market

Count = Annotated[int, Meta(ge=0)]


class SimulatorConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that shapes the answers; each field may be set at any time.

    `prices` are lies: {coin id: {field: JSON text}}. The text appears in answers exactly as it stands, also
    for an unknown coin: {"bitcoin": {"usd": "12345678.123456789", "usd_24h_change": "null"}}.
    """

    seed: int = 0
    update_period_s: Annotated[float, Meta(gt=0)] = 60.0
    latency_ms: Annotated[float, Meta(ge=0)] = 0.0
    limit_per_minute: Count = 0  # over all callers; 0 is no limit
    credits_per_month: Count = 0  # likewise; they are counted without a limit too
    prices: dict[str, dict[str, str]] = {}
    failures: list[AnyFailure] = []  # the first is in force

    @property
    def market(self) -> Market:
        """The market that this configuration describes."""
        return Market(self.seed, self.update_period_s)

    def take_failure(self) -> Failure | None:
        """The failure that the next call meets, if any; one that has met all its calls is gone."""
        if not self.failures:
            return None
        failure, *others = self.failures
        if failure.calls is not None:
            left = [replace(failure, calls=failure.calls - 1)] if failure.calls > 1 else []
            self.failures = left + others
        return failure

    def update(self, changes: bytes) -> None:
        """Apply a JSON object of some fields, all or none of them, or raise msgspec.ValidationError."""
        wanted = msgspec.to_builtins(self) | msgspec.json.decode(changes, type=dict[str, object])
        changed = msgspec.convert(wanted, SimulatorConfig)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(changed, name))

    def heal(self) -> None:
        """Switch every failure and every lie off."""
        self.failures = []
        self.prices = {}
