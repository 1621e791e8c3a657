"""What goes over the wires is understood, however it is cut into chunks."""

import struct

import hiredis
import pytest

from core import lua
from core.redis_connection import pack
from tests.faults.wire import (
    Grant,
    Opened,
    PostgresWire,
    RedisWire,
    Settlement,
    accepted_in,
    granted_in,
    opened_in,
    settlements_in,
    writes_prices,
)

CLAIM = pack("EVALSHA", lua.CLAIM.digest, 1, "{cryptopulse}", 1500, 18000, "b1", "threshold")
PING = pack("PING")
GRANTED = (
    b"*4\r\n:1700000000000\r\n:0\r\n:12\r\n*7\r\n$7\r\ngranted\r\n$2\r\nb1\r\n$7\r\nbitcoin\r\n$9\r\nthreshold\r\n"
    b":1\r\n:3\r\n$5\r\n,usd,\r\n"
)
HELD = b"*4\r\n:1700000000000\r\n:0\r\n:12\r\n*4\r\n$4\r\nheld\r\n$2\r\nb1\r\n:1500\r\n:1\r\n"
ERROR = b"-NOSCRIPT No matching script.\r\n"
INSERT = "INSERT INTO prices (batch_id) SELECT * FROM unnest($1::uuid[])"


def test_pipelined_commands_are_told_apart_and_scripts_are_named() -> None:
    commands = RedisWire().sent(PING + CLAIM + PING)
    assert [command.script for command in commands] == ["", "claim", ""]
    assert commands[1].args == (b"1500", b"18000", b"b1", b"threshold")


def test_a_script_sent_as_its_source_is_known_too() -> None:
    (command,) = RedisWire().sent(pack("EVAL", lua.COMPLETE.source, 1, "{cryptopulse}", 18000, "[]"))
    assert (command.script, command.args) == ("complete", (b"18000", b"[]"))


@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_commands_and_replies_may_come_in_pieces(size: int) -> None:
    wire = RedisWire()
    sent, answered = PING + CLAIM, b"+PONG\r\n" + GRANTED
    commands = [one for at in range(0, len(sent), size) for one in wire.sent(sent[at : at + size])]
    pairs = [one for at in range(0, len(answered), size) for one in wire.answered(answered[at : at + size])]
    assert [command.script for command in commands] == ["", "claim"]
    assert [command.script for command, _ in pairs] == ["", "claim"]


def test_an_admission_tells_which_batches_it_opened() -> None:
    opened, joined, fresh = [b"joined", b"b1", 1, 5000], [b"joined", b"b2", 2, 4000, None], [b"fresh", b"1:2:3:b3:1.5"]
    now_ms = 1_700_000_000_000
    several = [[b"limited", 0, 60000], [b"admitted", 19, 60000, joined], [b"admitted", 18, 60000, fresh, opened]]
    assert opened_in([now_ms, [], *several]) == [Opened("b1", now_ms)]
    assert opened_in([now_ms, [], [b"admitted", 20, 60000, [b"over budget", 9000]]]) == []
    assert opened_in([now_ms, [], [b"outbox full"]]) == []
    assert opened_in(hiredis.ReplyError("OOM")) == []


def test_a_granted_claim_is_read_with_its_token_and_redis_time() -> None:
    wire = RedisWire()
    wire.sent(CLAIM)
    ((command, reply),) = wire.answered(GRANTED)
    assert granted_in(command, reply) == [Grant("b1", "bitcoin", "threshold", 1, 1_700_000_000_000)]


@pytest.mark.parametrize("reply", [HELD, ERROR])
def test_a_claim_that_is_not_granted_grants_nothing(reply: bytes) -> None:
    wire = RedisWire()
    wire.sent(CLAIM)
    ((command, told),) = wire.answered(reply)
    assert granted_in(command, told) == []


def test_an_admission_tells_what_it_claimed() -> None:
    (command,) = RedisWire().sent(pack("EVALSHA", lua.ADMIT.digest, 1, "{cryptopulse}", 1500))
    claimed = [b"granted", b"b1", b"bitcoin", b"threshold", 1, 3, b",usd,", 1_700_000_005_000]
    admitted = [b"admitted", 19, 60000, [b"joined", b"b1", 3, 5000]]
    now_ms = 1_700_000_000_000
    assert granted_in(command, [now_ms, [0, 12, claimed], admitted]) == [Grant("b1", "bitcoin", "threshold", 1, now_ms)]
    assert granted_in(command, [now_ms, [], admitted]) == []


def test_a_completion_is_read_with_its_prices_and_what_was_accepted() -> None:
    done = (
        b'{"at":"1700000000000","outcome":"answered","batches":[{"batch_id":"b1","coin_id":"bitcoin","fence":"2",'
        b'"state":"answered","result":"{}","prices":[["usd","1.50"]]}]}'
    )
    wire = RedisWire()
    (command,) = wire.sent(pack("EVALSHA", lua.COMPLETE.digest, 1, "{cryptopulse}", 18000, done))
    ((_, reply),) = wire.answered(b"*1\r\n$2\r\nb1\r\n")
    assert settlements_in(command) == [Settlement("b1", "bitcoin", 2, "1700000000000", [("usd", "1.50")])]
    assert accepted_in(reply) == ["b1"]
    assert accepted_in(hiredis.ReplyError("OOM")) == []


def test_a_subscription_has_messages_and_no_replies() -> None:
    wire = RedisWire()
    wire.sent(pack("SUBSCRIBE", "feed"))
    assert wire.answered(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nfeed\r\n:1\r\n") == []


def postgres_message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", 4 + len(body)) + body


STARTUP = postgres_message(b"", struct.pack("!i", 196608) + b"user\0postgres\0\0")
PARSE = postgres_message(b"P", b"s1\0" + INSERT.encode() + b"\0\0\0")
BIND = postgres_message(b"B", b"\0s1\0\0\0\0\0\0\0")
SYNC = postgres_message(b"S", b"")


def test_a_statement_is_told_each_time_it_gets_its_arguments() -> None:
    wire = PostgresWire()
    assert wire.sent(STARTUP + PARSE + SYNC) == []
    assert wire.sent(BIND + SYNC) == [INSERT]
    assert wire.sent(BIND + SYNC) == [INSERT]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_statements_may_come_in_pieces(size: int) -> None:
    wire, sent = PostgresWire(), STARTUP + PARSE + BIND + SYNC
    assert [one for at in range(0, len(sent), size) for one in wire.sent(sent[at : at + size])] == [INSERT]


def test_writing_prices_is_known_from_reading_them() -> None:
    assert writes_prices(["SELECT 1", f"\n    {INSERT}"])
    assert not writes_prices(["SELECT price FROM prices"])
