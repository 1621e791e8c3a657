"""What is being written down while things happen; becomes a History."""

from dataclasses import dataclass, field

from tests.faults.history import Claim, Completion, Emptied, End, Opening, Request, Stall


@dataclass
class Record:
    """Lists that only grow, and requests by number, of which the latest state counts."""

    requests: dict[int, Request] = field(default_factory=dict)
    openings: list[Opening] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    ends: list[End] = field(default_factory=list)
    stalls: list[Stall] = field(default_factory=list)
    emptied: list[Emptied] = field(default_factory=list)
