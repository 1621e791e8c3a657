"""What `cryptopulse dev` tells a newcomer when everything runs."""

from collections.abc import Sequence
from dataclasses import dataclass

_PRICE = "/v1/price/bitcoin"
_WORTH_SEEING = r"grep -oE '^x-batch.*|\{.*\}'"


@dataclass(frozen=True)
class Banner:
    """What runs where, and what to try."""

    urls: Sequence[str]
    upstream: str
    redis_url: str
    state_folder: str
    monitor: str
    token: str
    window_s: float
    threshold: int

    def __str__(self) -> str:
        return "\n".join(["", *self._what_runs(), "", *self._what_to_try(), ""])

    def _what_runs(self) -> list[str]:
        return [
            "CryptoPulse is ready. Ctrl-C ends everything.",
            "",
            *(f"  server     {url}" for url in self.urls),
            f"  try it     {self.urls[0]}/docs",
            f"  prices     {self.upstream}",
            f"  Valkey     {self.redis_url}",
            f"  the rest   {self.state_folder}: Postgres, logs, the admin's password in secrets.json",
        ]

    def _what_to_try(self) -> list[str]:
        return [
            f"A lone request waits for company until its batch is {self.window_s:g} s old:",
            "",
            *(f"  {self._curl()} {url}{_PRICE}" for url in self.urls),
            "",
            *self._shared(),
            "",
            f"Watch it happen in another terminal:  {self.monitor}",
        ]

    def _shared(self) -> list[str]:
        where = ", whichever server they ask" if len(self.urls) > 1 else ""
        crowd = " ".join(self.urls[place % len(self.urls)] + _PRICE for place in range(self.threshold))
        return [
            f"{self.threshold} at once do not wait, and share one upstream call{where}:",
            "",
            # Into a pipe curl writes an answer as a whole, but for the end of its last line; `curl -Z` shows a progress
            # meter even when told to be silent.
            f"  for url in {crowd}; do {self._curl()} $url & done | {_WORTH_SEEING}",
        ]

    def _curl(self) -> str:
        return rf"curl -si -w '\n' -H 'Authorization: Bearer {self.token}'"
