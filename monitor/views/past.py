"""The recent past that instances tell in buckets: brought to now, summed, and read as quantiles."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from core.events import BUCKET_S, HISTOGRAM_MS

_ENDS_S = tuple(end_ms / 1000 for end_ms in HISTOGRAM_MS)


def buckets_ago(age_s: float) -> int:
    """How many buckets ago something was told."""
    return max(0, int(age_s // BUCKET_S))


def brought_to_now(line: Sequence[int], ago: int, length: int) -> list[int]:
    """A line of the `length` latest buckets, as told `ago` buckets ago; what is older now is dropped."""
    known = line[-length:]
    return [*[0] * (length - len(known)), *known, *[0] * ago][-length:]


def summed(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The sum of two lines whose newest buckets are last."""
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    ahead = len(longer) - len(shorter)
    return [*longer[:ahead], *map(int.__add__, longer[ahead:], shorter)]


def histogram(told: Iterable[Sequence[int]]) -> list[int]:
    """The sum of histograms; one with other buckets than ours, from another version, cannot be read."""
    total = [0] * (len(HISTOGRAM_MS) + 1)
    for counts in told:
        if len(counts) == len(total):
            total = [known + max(0, count) for known, count in zip(total, counts, strict=True)]
    return total


def quantile(counts: Sequence[int], part: float) -> float | None:
    """The time in seconds within which `part` of all were done; None without any.

    Inside a bucket they are taken to be spread evenly, so that it is off by less than that bucket's width; what took
    longer than the last end counts as that end, and the truth may be more.
    """
    rank = part * sum(counts)
    if not rank:
        return None
    below = 0
    for count, (start_s, end_s) in zip(counts, pairwise((0.0, *_ENDS_S)), strict=False):
        if count and below + count >= rank:
            return start_s + (end_s - start_s) * (rank - below) / count
        below += count
    return _ENDS_S[-1]
