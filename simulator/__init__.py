"""A CoinGecko of our own, for development, tests and benchmarks.

simulator = Simulator(SimulatorConfig(latency_ms=20))
url = await nursery.start(simulator.serve, "127.0.0.1", 0)
simulator.config.failures = [failures.ServerError(status=503, calls=1)]
assert [call.status for call in simulator.calls] == [503]
"""

# Who may import whom, top to bottom:
#
#   __main__       the command line
#   simulator      what holds state: configuration, record of calls, minute, month
#   wire           HTTP/1.1 over trio streams; knows bytes, not prices
#   control        the endpoints under /__
#   endpoints      CoinGecko's own endpoints: request -> answer
#   simple_price   the query language of /simple/price
#   account        what calls cost, and what is left of the month
#   refusals       calls turned away: the minute, the month, the plan
#   config         what can be changed while it runs
#   failures       what can go wrong with an answer
#   market         every figure of every coin at an instant
#   limit, messages, decimal_text, currencies, coins
#
# From `endpoints` down nothing reads a clock: an instant is an argument. Only `config` and `limit` hold state.

from simulator import failures
from simulator.config import SimulatorConfig
from simulator.messages import Call
from simulator.simulator import Simulator

__all__ = ["Call", "Simulator", "SimulatorConfig", "failures"]
