"""The endpoints under `/__`, with which a test in another process does what one in this process does by hand.

They are neither recorded nor limited nor failed:

    GET  /__calls     the record of calls
    GET  /__credits   {"used": 3, "limit": 10000}: the month's credits, limit 0 for none
    POST /__credits   {"used": 9990}: begins late in a month, answers as GET does
    POST /__reset     an empty record, no failures, no lies, a fresh minute and month
    POST /__config    {"latency_ms": 50}: changes what is named, answers the whole configuration
"""

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from simulator.config import Count
from simulator.messages import Answer, Request, json_answer

if TYPE_CHECKING:
    from simulator.simulator import Simulator

PREFIX = "/__"
NOTHING_ELSE = "there is GET /__calls, GET and POST /__credits, POST /__reset and POST /__config"


class Used(Struct, forbid_unknown_fields=True):
    """How many of the month's credits shall count as used."""

    used: Count


def respond(request: Request, simulator: "Simulator") -> Answer:
    """Do what is asked, and tell."""
    try:
        return _respond(request, simulator)
    except msgspec.DecodeError as error:
        return json_answer(400, {"error": str(error)})


def _respond(request: Request, simulator: "Simulator") -> Answer:
    match request.method, request.path:
        case "GET", "/__calls":
            return json_answer(200, simulator.calls)
        case "GET", "/__credits":
            return json_answer(200, simulator.month)
        case "POST", "/__credits":
            simulator.credits_used = msgspec.json.decode(request.body, type=Used).used
            return json_answer(200, simulator.month)
        case "POST", "/__reset":
            simulator.reset()
            return json_answer(200, simulator.config)
        case "POST", "/__config":
            simulator.config.update(request.body)
            return json_answer(200, simulator.config)
        case _:
            return json_answer(404, {"error": NOTHING_ELSE})
