"""The same bytes, to a connection of ours and to Hypercorn's own: the answers are the same.

Where they are not, ours is the stricter one, and `STRICTER` says why.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.server.http1.wire import Answer, Server, conversation, echo, ours, stock

REFUSALS = {400, 414, 431, 501}


def get(rest: bytes = b"", line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: x\r\n") -> bytes:
    return line + b"\r\n" + host + rest + b"\r\n"


def post(rest: bytes, body: bytes = b"") -> bytes:
    return get(rest, line=b"POST /a HTTP/1.1") + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
LAST = b"0\r\n\r\n"

# What both take, and what both refuse, with the same status.
SAME = {
    "plain": get(),
    "query": get(line=b"GET /a/b?c=d&e=%20?x HTTP/1.1"),
    "encoded path": get(line=b"GET /%C3%A9%2F%zz HTTP/1.1"),
    "fragment": get(line=b"GET /a#b HTTP/1.1"),
    "absolute target": get(line=b"GET http://y/a?b HTTP/1.1"),
    "asterisk": get(line=b"OPTIONS * HTTP/1.1"),
    "HEAD": get(line=b"HEAD /a HTTP/1.1"),
    "headers": get(b"A: b\r\nA: c\r\nEmpty:\r\nBlanks:  \t x \t \r\nHigh: \xe9\xff\r\n"),
    "blanks inside": get(b"A: b \t c\r\n"),
    "odd host": get(host=b"Host: a b,[\r\n"),
    "empty host": get(host=b"Host:\r\n"),
    "two requests": get() + get(line=b"GET /b HTTP/1.1"),
    "many requests": get() * 20,
    "close": get(b"Connection: close\r\n"),
    "close among others": get(b"Connection: Foo, CLOSE\r\n"),
    "close in the second of two": get(b"Connection: foo\r\nConnection: close\r\n"),
    "close for a proxy": get(b"Proxy-Connection: close\r\n"),
    "keep-alive": get(b"Connection: keep-alive\r\n"),
    "1.0": get(line=b"GET / HTTP/1.0"),
    "1.0 without host": get(line=b"GET / HTTP/1.0", host=b""),
    "1.0 that would stay": get(b"Connection: keep-alive\r\n", line=b"GET / HTTP/1.0"),
    "1.0 with a body": get(b"Content-Length: 2\r\n", line=b"POST / HTTP/1.0") + b"ab",
    "1.0 in chunks": get(CHUNKED, line=b"POST / HTTP/1.0") + b"2\r\nab\r\n" + LAST,
    "unknown upgrade": get(b"Connection: upgrade\r\nUpgrade: foo\r\n") + get(),
    "sized": post(b"Content-Length: 5\r\n", b"hello"),
    "sized, then another": post(b"Content-Length: 5\r\n", b"hello") + get(),
    "sized 0": post(b"Content-Length: 0\r\n") + get(),
    "sized with zeros": post(b"Content-Length: 0005\r\n", b"hello"),
    "sized GET": get(b"Content-Length: 2\r\n") + b"ab" + get(),
    "no length": post(b"") + get(),
    "incomplete": post(b"Content-Length: 5\r\n", b"hel"),
    "huge length": post(b"Content-Length: 9999999999999999999\r\n", b"hello"),
    "chunks": post(CHUNKED, b"5\r\nhello\r\n1\r\n!\r\n" + LAST),
    "chunks, then another": post(CHUNKED, b"5\r\nhello\r\n" + LAST) + get(),
    "no chunks": post(CHUNKED, LAST) + get(),
    "capital chunks": post(b"TRANSFER-ENCODING: Chunked \r\n", b"A\r\n0123456789\r\n" + LAST),
    "chunk of many digits": post(CHUNKED, b"0000005\r\nhello\r\n000\r\n\r\n"),
    "chunk with an extension": post(CHUNKED, b'5;a=b;c="d e"\r\nhello\r\n0;x\r\n\r\n'),
    "chunk with blanks": post(CHUNKED, b"5 \t\r\nhello\r\n0 \r\n\r\n"),
    "trailers": post(CHUNKED, b"1\r\na\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n") + get(),
    "expects and sends": post(b"Expect: 100-continue\r\nContent-Length: 2\r\n", b"ab") + get(),
    "expects nothing": get(b"Expect: 100-continue\r\n") + get(),
    "expects in 1.0": get(b"Expect: 100-continue\r\nContent-Length: 2\r\n", line=b"POST / HTTP/1.0") + b"ab",
    "nothing": b"",
    "part of a line": b"GET /",
    "part of a head": b"GET / HTTP/1.1\r\nHost: x\r\n",
    # What both refuse.
    "no host": get(host=b""),
    "two hosts": get(host=b"Host: x\r\nHost: x\r\n"),
    "two hosts in 1.0": get(host=b"Host: x\r\nHost: y\r\n", line=b"GET / HTTP/1.0"),
    "line end first": b"\r\n" + get(),
    "line feed first": b"\n" + get(),
    "blank first": b" " + get(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": get(line=b"GET /"),
    "odd version": get(line=b"GET / HTTP/11"),
    "small version": get(line=b"GET / http/1.1"),
    "other protocol": get(line=b"GET / RTSP/1.0"),
    "audio stream": get(line=b"SOURCE / ICE/1.0"),
    "two blanks": get(line=b"GET  / HTTP/1.1"),
    "two blanks later": get(line=b"GET /  HTTP/1.1"),
    "tab": get(line=b"GET\t/ HTTP/1.1"),
    "blank at the end": get(line=b"GET / HTTP/1.1 "),
    "blank in the target": get(line=b"GET /a b HTTP/1.1"),
    "control in the target": get(line=b"GET /\x01 HTTP/1.1"),
    "high target": get(line=b"GET /\xe9 HTTP/1.1"),
    "no target": get(line=b"GET HTTP/1.1"),
    "odd method": get(line=b"G@T / HTTP/1.1"),
    "blank before the colon": get(b"A : b\r\n"),
    "tab before the colon": get(b"A\t: b\r\n"),
    "blank in the name": get(b"A b: c\r\n"),
    "blank before the first name": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "no name": get(b": b\r\n"),
    "no colon": get(b"ab\r\n"),
    "odd name": get(b'"A": b\r\n'),
    "high name": get(b"\xe9: b\r\n"),
    "NUL in a name": get(b"A\0: b\r\n"),
    "NUL in a value": get(b"A: b\0c\r\n"),
    "return in a value": get(b"A: b\rc\r\n"),
    "return at the end": get(b"A: b\r\r\n"),
    "form feed in a value": get(b"A: b\x0cc\r\n"),
    "two lengths": post(b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello"),
    "two lengths in one": post(b"Content-Length: 5, 6\r\n", b"hello"),
    "length with a sign": post(b"Content-Length: +5\r\n", b"hello"),
    "negative length": post(b"Content-Length: -5\r\n", b"hello"),
    "length in hex": post(b"Content-Length: 0x5\r\n", b"hello"),
    "length with a blank": post(b"Content-Length: 5 5\r\n", b"hello"),
    "length with a line": post(b"Content-Length: 5_0\r\n", b"hello"),
    "empty length": post(b"Content-Length:\r\n", b"hello"),
    "endless length": post(b"Content-Length: " + b"9" * 30 + b"\r\n", b"hello"),
    "gzip": post(b"Transfer-Encoding: gzip\r\n", b"hello"),
    "identity": post(b"Transfer-Encoding: identity\r\n", b"hello"),
    "gzip, then chunks": post(b"Transfer-Encoding: gzip, chunked\r\n", LAST),
    "something, then chunks": post(b"Transfer-Encoding: x, chunked\r\n", LAST),
    "chunks with a tab": post(b"Transfer-Encoding: \x0bchunked\r\n", LAST),
    "chunk size in words": post(CHUNKED, b"five\r\nhello\r\n" + LAST),
    "chunk size with a sign": post(CHUNKED, b"+5\r\nhello\r\n" + LAST),
    "negative chunk": post(CHUNKED, b"-5\r\nhello\r\n" + LAST),
    "chunk size in 0x": post(CHUNKED, b"0x5\r\nhello\r\n" + LAST),
    "no chunk size": post(CHUNKED, b"\r\nhello\r\n" + LAST),
    "blank before a size": post(CHUNKED, b" 5\r\nhello\r\n" + LAST),
    "chunk too long": post(CHUNKED, b"5\r\nhello!\r\n" + LAST),
    "chunk too short": post(CHUNKED, b"5\r\nhell\r\n" + LAST),
    "chunk that ends with a line feed": post(CHUNKED, b"5\r\nhello\n" + LAST),
    "size that ends with a line feed": post(CHUNKED, b"5\nhello\r\n" + LAST),
    "odd trailer": post(CHUNKED, b"0\r\nA : b\r\n\r\n"),
    "head beyond 64 KiB": get(b"A: " + b"b" * 70_000),
}


@dataclass(frozen=True)
class Stricter:
    """What stock takes and ours refuses, and why that is right."""

    sent: bytes
    why: str
    status: int = 400


STRICTER = {
    "line feeds alone": Stricter(get().replace(b"\r\n", b"\n"), "others read such a head differently"),
    "a line feed alone": Stricter(b"GET / HTTP/1.1\r\nHost: x\n\r\n", "the same"),
    "a line feed at the end": Stricter(b"GET / HTTP/1.1\r\nHost: x\r\n\n", "the same"),
    "a folded header": Stricter(get(b"A: b\r\n c\r\n"), "RFC 9112, 5.2 lets a server refuse it"),
    "a control in a value": Stricter(get(b"A: b\x01c\r\n"), "RFC 9110, 5.5 calls it invalid"),
    "a length and chunks": Stricter(post(b"Content-Length: 5\r\n" + CHUNKED, LAST), "how requests are smuggled"),
    "chunks and a length": Stricter(post(CHUNKED + b"Content-Length: 5\r\n", LAST), "the same"),
    "the same length twice": Stricter(post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), "the same"),
    "a list of lengths": Stricter(post(b"Content-Length: 5, 5\r\n", b"hello"), "the same"),
    "a length beyond 64 bits": Stricter(post(b"Content-Length: " + b"9" * 20 + b"\r\n"), "no such body ends"),
    "chunks beyond 64 bits": Stricter(post(CHUNKED, b"1" * 17 + b"\r\n"), "the same"),
    "a control beside a size": Stricter(post(CHUNKED, b"1;a\rb\r\na\r\n" + LAST), "as in a header"),
    "a lone line feed in place of trailers": Stricter(post(CHUNKED, b"0\r\n\n"), "as in a head"),
    "a trailer with a line feed": Stricter(post(CHUNKED, b"0\r\nA: b\nB: c\r\n\r\n"), "as in a head"),
    "a method in small letters": Stricter(get(line=b"get / HTTP/1.1"), "methods are case-sensitive"),
    "an unknown method": Stricter(get(line=b"FOO / HTTP/1.1"), "llhttp knows those there are"),
    "HTTP/1.2": Stricter(get(line=b"GET / HTTP/1.2"), "there is none"),
    "HTTP/2.0 in words": Stricter(get(line=b"GET / HTTP/2.0"), "HTTP/2 is not spoken like that"),
    "HTTP/0.9 with headers": Stricter(get(line=b"GET / HTTP/0.9"), "it had none"),
    "a target without a slash": Stricter(get(line=b"GET nowhere HTTP/1.1"), "it names nothing"),
    "a target of a query": Stricter(get(line=b"GET ?a HTTP/1.1"), "the same"),
    "two codings and a length": Stricter(
        post(b"Content-Length: 5\r\nTransfer-Encoding: gzip\r\n", b"hello"), "stock refuses it with 501"
    ),
    "chunks twice": Stricter(post(b"Transfer-Encoding: chunked, chunked\r\n", LAST), "stock refuses it with 501"),
    "chunks in two headers": Stricter(post(CHUNKED + CHUNKED, LAST), "stock refuses it with 501"),
    "too many headers": Stricter(get(b"A: b\r\n" * 200), "their number is bounded", 431),
    "a long target": Stricter(get(line=b"GET /" + b"a" * 50_000 + b" HTTP/1.1"), "its length is bounded", 414),
    "a long line before a chunk": Stricter(post(CHUNKED, b"1;" + b"a" * 5000), "it is bounded", 431),
    "long trailers": Stricter(post(CHUNKED, b"0\r\n" + b"A: b\r\n" * 2000), "they are bounded", 431),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


async def told(server: Server, *pieces: bytes) -> tuple[list[Answer], bool]:
    """The answers, and whether the connection has ended."""
    async with conversation(server, echo) as client:
        await client.say(*pieces)
        methods = ["HEAD"] if b"".join(pieces).startswith(b"HEAD ") else []
        return client.answers(*methods), client.ended


def shown(answers: list[Answer]) -> list[tuple[int, bytes]]:
    """What counts: an error's body is ours alone."""
    return [(answer.status, answer.body if answer.status == 200 else b"") for answer in answers]


@pytest.mark.parametrize("name", SAME)
async def test_the_answers_are_the_same(name: str) -> None:
    expected, expected_end = await told(stock, SAME[name])
    actual, ended = await told(ours, SAME[name])
    assert (shown(actual), ended) == (shown(expected), expected_end)


@pytest.mark.parametrize("name", STRICTER)
async def test_ours_refuses_more_for_a_reason(name: str) -> None:
    case = STRICTER[name]
    allowed, _ = await told(stock, case.sent)
    refused, ended = await told(ours, case.sent)
    assert shown(allowed) != [(case.status, b"")], "it is no difference any more"
    assert (shown(refused), ended) == ([(case.status, b"")], True), case.why


@pytest.mark.parametrize("name", [*SAME, *STRICTER])
async def test_pieces_are_understood_like_the_whole(name: str) -> None:
    sent = SAME[name] if name in SAME else STRICTER[name].sent
    whole = await told(ours, sent)
    pieces = [sent[at : at + 1] for at in range(len(sent))] if len(sent) < 500 else [sent[:450], sent[450:]]
    actual, ended = await told(ours, *pieces)
    assert (shown(actual), ended) == (shown(whole[0]), whole[1])


async def test_what_follows_a_close_is_not_read() -> None:
    """Stock refuses the first request too if the second is there already."""
    answers, ended = await told(ours, get(b"Connection: close\r\n") + get())
    assert ([answer.status for answer in answers], ended) == ([200], True)


def mixed(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


WORDS = st.sampled_from(
    [b"", b"a", b"close", b"chunked", b"5", b"05", b"+1", b"x, chunked", b"100-continue", b"upgrade"]
)
BLANKS = st.sampled_from([b"", b" ", b"\t", b"  "])
NAMES = st.sampled_from(
    [b"Host", b"A", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Content-Length ", b"\tA"]
)
ENDS = st.sampled_from([b"\r\n"] * 20 + [b"\n", b"\r", b"\r\r\n", b"\r\n "])
HEADERS = mixed(NAMES, st.just(b":"), BLANKS, WORDS, BLANKS, ENDS)
METHODS = st.sampled_from([b"GET", b"POST", b"OPTIONS", b"DELETE", b"PUT", b"get"])
TARGETS = st.sampled_from([b"/", b"/a?b", b"*", b"http://x/", b"/%41", b"a", b"/\x80"])
VERSIONS = st.sampled_from([b"1.1"] * 5 + [b"1.0", b"1.2", b"2.0", b"0.9"])
LINES = mixed(METHODS, st.just(b" "), TARGETS, st.just(b" HTTP/"), VERSIONS, ENDS)
SIZES = st.sampled_from([b"5", b"05", b"0", b"6", b"A", b"5;x", b"5 ", b"x", b""])
CHUNKS = mixed(SIZES, ENDS, st.just(b"hello"), ENDS)
BODIES = st.one_of(st.just(b""), st.just(b"hello"), mixed(CHUNKS, CHUNKS, st.just(LAST)), mixed(CHUNKS, st.just(LAST)))
HEADER_LINES = st.lists(HEADERS, max_size=4).map(lambda lines: b"".join([b"Host: x\r\n", *lines]))
MADE_UP = mixed(LINES, HEADER_LINES, st.just(b"\r\n"), BODIES)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A request of the table, with a few bytes replaced, taken out or put in."""
    sent = draw(st.sampled_from([each for each in SAME.values() if 0 < len(each) < 500]))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(sent)))
        new = draw(st.one_of(st.binary(max_size=2), st.sampled_from([b"\r\n", b"\n", b" ", b":", b",", b"0", b"\0"])))
        sent = sent[:at] + new + sent[at + draw(st.integers(0, 2)) :]
    return sent


@st.composite
def cut(draw: st.DrawFn, requests: st.SearchStrategy[bytes]) -> list[bytes]:
    sent = draw(requests)
    places = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    return [sent[one:two] for one, two in zip([0, *places], [*places, len(sent)], strict=True) if one < two]


def is_other_protocol(sent: bytes) -> bool:
    """What goes on with Hypercorn is the same by itself."""
    return any(word in sent.lower() for word in (b"h2c", b"websocket", b"pri *"))


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=cut(st.one_of(MADE_UP, mutations(), mixed(MADE_UP, MADE_UP))))
async def test_whatever_comes_is_answered_alike_or_refused(pieces: list[bytes]) -> None:
    expected, expected_end = await told(stock, *pieces)
    actual, ended = await told(ours, *pieces)
    if (shown(actual), ended) == (shown(expected), expected_end):
        return
    *alike, last = shown(actual)
    assert last[0] in REFUSALS or follows_close(actual[-1])
    assert ended
    assert alike == shown(expected)[: len(alike)]


def follows_close(answer: Answer) -> bool:
    """The one case in which stock refuses what ours answers."""
    return answer.status == 200 and answer.headers.get("connection") == "close"
