"""Who gets past the token: forged, broken and untimely ones, on every route that wants one."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx
import jwt
import pytest

from server.auth import InvalidToken, Tokens, issue_token, key_id
from tests.server.fakes import SECRET, World

PROTECTED = ["/v1/price/bitcoin", "/v1/price/bitcoin/history", "/v1/prices?ids=bitcoin"]
NOW = int(time.time())
SOON = NOW + 3600


def encoded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(header: bytes, payload: bytes, *, secret: str = SECRET, digest: str = "sha256") -> str:
    """A token made by hand, since no library makes what these tests need."""
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"{text}.{encoded(hmac.new(secret.encode(), text.encode(), digest).digest())}"


def token(claims: Any, **header: Any) -> str:
    return signed(json.dumps({"alg": "HS256", "typ": "JWT"} | header).encode(), json.dumps(claims).encode())


def raw_token(payload: bytes, header: bytes = b'{"alg":"HS256"}') -> str:
    return signed(header, payload)


GOOD: dict[str, Any] = {"sub": "ada", "exp": SOON}
HEADER, PAYLOAD, SIGNATURE = token(GOOD).split(".")
NONE, NONE_CAPITAL = encoded(b'{"alg":"none"}'), encoded(b'{"alg":"None"}')
EVE = encoded(b'{"sub":"eve","exp":9999999999}')

FORGED = {
    "no algorithm": f"{NONE}.{PAYLOAD}.",
    "no algorithm, capital": f"{NONE_CAPITAL}.{PAYLOAD}.",
    "no algorithm, but a signature": f"{NONE}.{PAYLOAD}.{SIGNATURE}",
    "algorithm missing": signed(b"{}", json.dumps(GOOD).encode()),
    "algorithm is null": raw_token(json.dumps(GOOD).encode(), b'{"alg":null}'),
    "algorithm is a list": raw_token(json.dumps(GOOD).encode(), b'{"alg":["HS256"]}'),
    "algorithm is an object": raw_token(json.dumps(GOOD).encode(), b'{"alg":{}}'),
    "HS384": signed(b'{"alg":"HS384"}', json.dumps(GOOD).encode(), digest="sha384"),
    "HS512": signed(b'{"alg":"HS512"}', json.dumps(GOOD).encode(), digest="sha512"),
    "RS256 with our secret": signed(b'{"alg":"RS256"}', json.dumps(GOOD).encode()),
    "hs256 in small letters": signed(b'{"alg":"hs256"}', json.dumps(GOOD).encode()),
    "another secret": signed(b'{"alg":"HS256"}', json.dumps(GOOD).encode(), secret="x" * 40),
    "empty secret": signed(b'{"alg":"HS256"}', json.dumps(GOOD).encode(), secret=""),
    "signature empty": f"{HEADER}.{PAYLOAD}.",
    "signature cut": f"{HEADER}.{PAYLOAD}.{SIGNATURE[:-4]}",
    "signature of another payload": f"{HEADER}.{EVE}.{SIGNATURE}",
    "key in the header": signed(b'{"alg":"HS256","jwk":{"kty":"oct","k":"eA"}}', json.dumps(GOOD).encode(), secret="x"),
    "key id is a path": signed(b'{"alg":"HS256","kid":"../../dev/null"}', json.dumps(GOOD).encode(), secret=""),
    "key by address": signed(b'{"alg":"HS256","jku":"http://127.0.0.1/k"}', json.dumps(GOOD).encode(), secret="k"),
    "unknown critical header": token(GOOD, crit=["exp2"], exp2=1),
    "critical header that is not there": token(GOOD, crit=["b64"]),
    "critical headers empty": token(GOOD, crit=[]),
    "critical headers no list": token(GOOD, crit="exp"),
    "payload not encoded": token(GOOD, crit=["b64"], b64=False),
}
BROKEN = {
    "two parts": f"{HEADER}.{PAYLOAD}",
    "four parts": f"{HEADER}.{PAYLOAD}.{SIGNATURE}.{SIGNATURE}",
    "five parts, encrypted": "eyJhbGciOiJkaXIifQ..AAAA.AAAA.AAAA",
    "dots only": "..",
    "one letter": "x",
    "header no base64": f"a.{PAYLOAD}.{SIGNATURE}",
    "header no JSON": raw_token(json.dumps(GOOD).encode(), b"{"),
    "header a list": raw_token(json.dumps(GOOD).encode(), b"[]"),
    "header not UTF-8": raw_token(json.dumps(GOOD).encode(), b"\xff"),
    "header deep": raw_token(json.dumps(GOOD).encode(), b"[" * 1500),
    "payload no JSON": raw_token(b"nonsense"),
    "payload empty": raw_token(b""),
    "payload a list": raw_token(b"[]"),
    "payload null": raw_token(b"null"),
    "payload not UTF-8": raw_token(b'{"sub":"\xff","exp":9999999999}'),
    "payload deep": raw_token(b'{"sub":"a","exp":9999999999,"x":' + b"[" * 1500 + b"}"),
    "token too long": token(GOOD | {"x": "y" * 4000}),
    "64 KB": "a" * 65_536,
}
WRONG_CLAIMS = {
    "expired": token(GOOD | {"exp": NOW - 1}),
    "expired long ago": token(GOOD | {"exp": 0}),
    "expires before time": token(GOOD | {"exp": -(10**30)}),
    "no exp": token({"sub": "ada"}),
    "exp null": token(GOOD | {"exp": None}),
    "exp a text": token(GOOD | {"exp": str(SOON)}),
    "exp true": token(GOOD | {"exp": True}),
    "exp a list": token(GOOD | {"exp": [SOON]}),
    "exp infinite": raw_token(b'{"sub":"ada","exp":1e999}'),
    "exp Infinity": raw_token(b'{"sub":"ada","exp":Infinity}'),
    "exp not a number": raw_token(b'{"sub":"ada","exp":NaN}'),
    "not yet valid": token(GOOD | {"nbf": SOON}),
    "nbf infinite": raw_token(b'{"sub":"ada","exp":9999999999,"nbf":1e999}'),
    "nbf a text": token(GOOD | {"nbf": "0"}),
    "nbf null": token(GOOD | {"nbf": None}),
    "nbf an object": token(GOOD | {"nbf": {}}),
    "no sub": token({"exp": SOON}),
    "sub null": token(GOOD | {"sub": None}),
    "sub empty": token(GOOD | {"sub": ""}),
    "sub a number": token(GOOD | {"sub": 1}),
    "sub true": token(GOOD | {"sub": True}),
    "sub a list": token(GOOD | {"sub": ["ada"]}),
    "sub too long": token(GOOD | {"sub": "a" * 257}),
    "sub half a surrogate pair": raw_token(b'{"sub":"\\ud800","exp":9999999999}'),
}
VECTORS = FORGED | BROKEN | WRONG_CLAIMS


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize("name", VECTORS)
async def test_a_token_that_is_not_ours_or_not_timely_opens_nothing(
    world: World, client: httpx.AsyncClient, path: str, name: str
) -> None:
    answer = await client.get(path, headers={"Authorization": f"Bearer {VECTORS[name]}"})
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert (world.desk.admitted, world.coordinator.charged) == ([], [])


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    "values",
    [
        [b"Bearer"],
        [b"Bearer "],
        [b""],
        [b"bearer" + token(GOOD).encode()],
        [b"Basic YWRtaW46eA=="],
        [token(GOOD).encode()],
        [b"Bearer " + token(GOOD).encode(), b"Bearer " + token(GOOD).encode()],
        [b"Bearer " + token(GOOD).encode() + b", Bearer " + token(GOOD).encode()],
        [b"Bearer \xff\xfe"],
        ["Bearer é".encode()],
        [b"Bearer a\tb"],
        [b"Bearer " + token(GOOD).encode() + b"\x00"],
        [b"Token " + token(GOOD).encode()],
    ],
)
async def test_a_header_that_holds_not_exactly_one_token_opens_nothing(
    client: httpx.AsyncClient, path: str, values: list[bytes]
) -> None:
    answer = await client.get(path, headers=[(b"Authorization", value) for value in values])
    assert (answer.status_code, answer.json()["error"]) == (401, "Unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("path", PROTECTED)
async def test_without_a_token_the_answer_says_where_to_get_one(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert "POST /auth/login" in answer.json()["message"]


async def test_an_expired_token_is_told_apart(client: httpx.AsyncClient) -> None:
    answer = await client.get(PROTECTED[0], headers={"Authorization": f"Bearer {VECTORS['expired']}"})
    assert answer.json()["message"] == "The token has expired. Log in again."


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (token(GOOD), "ada"),
        (token(GOOD | {"exp": SOON + 0.5}), "ada"),
        (token(GOOD | {"exp": 10**15}), "ada"),
        (token(GOOD | {"nbf": NOW - 5}), "ada"),
        (token(GOOD | {"iat": SOON}), "ada"),
        (token(GOOD | {"iat": "yesterday"}), "ada"),
        (token(GOOD | {"iss": 1, "aud": ["somebody else"], "jti": 3}), "ada"),
        (token(GOOD, typ="at+jwt", kid="2026-01"), "ada"),
        (token(GOOD | {"sub": "a" * 256}), "a" * 256),
        (token(GOOD | {"sub": "a b:{c}\x00\n💩"}), "a b:{c}\x00\n💩"),
    ],
)
def test_what_the_contract_does_not_look_at_does_no_harm(text: str, subject: str) -> None:
    assert Tokens(SECRET).verify(text).subject == subject


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_the_scheme_may_be_in_any_case(client: httpx.AsyncClient, scheme: str) -> None:
    answer = await client.get(PROTECTED[0], headers={"Authorization": f"{scheme} {token(GOOD)}"})
    assert answer.status_code == 200


def test_an_issued_token_is_verified() -> None:
    issued = issue_token(SECRET, subject="ada", username="Ada L.", expires_s=60)
    assert Tokens(SECRET).verify(issued).caller == "user:ada"


def test_the_hand_made_tokens_of_these_tests_are_signed_right() -> None:
    text = f"{HEADER}.{PAYLOAD}"
    expected = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()
    assert encoded(expected) == SIGNATURE


def test_a_remembered_token_ends_when_it_expires() -> None:
    tokens, expires = Tokens(SECRET), int(time.time()) + 1
    short_lived = token(GOOD | {"exp": expires})
    assert tokens.verify(short_lived) is tokens.verify(short_lived)
    time.sleep(max(0.0, expires - time.time()))
    with pytest.raises(InvalidToken, match="expired"):
        tokens.verify(short_lived)


def test_a_token_that_differs_in_one_letter_is_none_that_is_remembered() -> None:
    tokens = Tokens(SECRET)
    tokens.verify(token(GOOD))
    with pytest.raises(InvalidToken):
        tokens.verify(f"{token(GOOD)[:-2]}AA")


def test_no_more_tokens_are_remembered_than_fit_and_the_others_are_good_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.auth.MOST_REMEMBERED", 2)
    tokens = Tokens(SECRET)
    for subject in ["ann", "bob", "cy", "ann", "é" * 256]:
        assert tokens.verify(token(GOOD | {"sub": subject})).subject == subject
    assert [user.subject for user, _ in tokens._good.values()] == ["cy", "ann"]


OLD = "an-older-secret-of-more-than-32-bytes"


def by(secret: str, **header: Any) -> str:
    """A token as others make it, with such a header."""
    return signed(json.dumps({"alg": "HS256"} | header).encode(), json.dumps(GOOD).encode(), secret=secret)


@pytest.mark.parametrize("secret", [SECRET, OLD])
@pytest.mark.parametrize("header", [{}, {"kid": "2026-01"}, {"kid": ""}])
def test_tokens_of_both_secrets_are_good_whatever_they_call_them(secret: str, header: dict[str, str]) -> None:
    tokens = Tokens(SECRET, previous=OLD)
    assert tokens.verify(by(secret, **header)).subject == "ada"
    assert tokens.verify(issue_token(secret, subject="ada", username="ada", expires_s=60)).subject == "ada"


def test_a_token_that_names_a_secret_is_tried_with_no_other() -> None:
    with pytest.raises(InvalidToken):
        Tokens(SECRET, previous=OLD).verify(by(SECRET, kid=key_id(OLD)))


@pytest.mark.parametrize("kid", [None, 1, ["x"], {}])
def test_a_secrets_name_that_is_no_text_opens_nothing(kid: object) -> None:
    with pytest.raises(InvalidToken):
        Tokens(SECRET, previous=OLD).verify(by(SECRET, kid=kid))


@pytest.mark.parametrize("name", VECTORS)
def test_with_two_secrets_nothing_else_is_good(name: str) -> None:
    with pytest.raises(InvalidToken):
        Tokens(OLD, previous=SECRET).verify(VECTORS[name])


def test_an_expired_token_of_the_previous_secret_is_told_as_that() -> None:
    with pytest.raises(InvalidToken, match="expired"):
        Tokens(OLD, previous=SECRET).verify(VECTORS["expired"])


def test_once_a_secret_is_gone_its_tokens_are() -> None:
    old = issue_token(OLD, subject="ada", username="ada", expires_s=60)
    Tokens(SECRET, previous=OLD).verify(old)
    with pytest.raises(InvalidToken):
        Tokens(SECRET).verify(old)


def test_a_token_names_its_secret_and_gives_nothing_of_it_away() -> None:
    kid = jwt.get_unverified_header(issue_token(SECRET, subject="ada", username="ada", expires_s=60))["kid"]
    assert (kid, len(kid)) == (key_id(SECRET), 16)
    assert kid != key_id(OLD)
    assert kid not in hashlib.sha256(SECRET.encode()).hexdigest()


@pytest.mark.parametrize(
    ("claims", "is_good"),
    [
        ({"iss": "us", "aud": "prices"}, True),
        ({"iss": "us", "aud": ["other", "prices"]}, True),
        ({"iss": "them", "aud": "prices"}, False),
        ({"iss": ["us"], "aud": "prices"}, False),
        ({"iss": "us", "aud": "other"}, False),
        ({"iss": "us", "aud": []}, False),
        ({"iss": "us", "aud": {"prices": 1}}, False),
        ({"iss": "us"}, False),
        ({"aud": "prices"}, False),
        ({}, False),
    ],
)
def test_issuer_and_audience_are_demanded_where_they_are_configured(claims: dict[str, Any], is_good: bool) -> None:
    tokens = Tokens(SECRET, issuer="us", audience="prices")
    if is_good:
        assert tokens.verify(token(GOOD | claims)).subject == "ada"
    else:
        with pytest.raises(InvalidToken):
            tokens.verify(token(GOOD | claims))


def test_an_issued_token_carries_issuer_and_audience_where_they_are_configured() -> None:
    issued = issue_token(SECRET, subject="ada", username="ada", expires_s=60, issuer="us", audience="prices")
    assert Tokens(SECRET, issuer="us", audience="prices").verify(issued).subject == "ada"
    assert Tokens(SECRET).verify(issued).subject == "ada"
