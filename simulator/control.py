"""The endpoints under `/__`, with which a test in another process does what one in this process does by hand.

They are neither recorded nor limited nor failed:

    GET  /__calls     the record of calls
    POST /__reset     an empty record, no failures, no lies, a fresh minute
    POST /__config    {"latency_ms": 50}: changes what is named, answers the whole configuration
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from simulator.messages import Answer, Request, json_answer

if TYPE_CHECKING:
    from simulator.simulator import Simulator

PREFIX = "/__"


def respond(request: Request, simulator: Simulator) -> Answer:
    """Do what is asked, and tell."""
    match request.method, request.path:
        case "GET", "/__calls":
            return json_answer(200, simulator.calls)
        case "POST", "/__reset":
            simulator.reset()
            return json_answer(200, simulator.config)
        case "POST", "/__config":
            return _configure(request.body, simulator)
        case _:
            return json_answer(404, {"error": "there is GET /__calls, POST /__reset and POST /__config"})


def _configure(changes: bytes, simulator: Simulator) -> Answer:
    try:
        simulator.config.update(changes)
    except msgspec.DecodeError as error:
        return json_answer(400, {"error": str(error)})
    return json_answer(200, simulator.config)
