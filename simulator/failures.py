"""What can go wrong with CoinGecko's answers, each to be switched on for all calls or for the next few.

    config.failures = [ServerError(status=503, calls=2), TooManyRequests(retry_after="7", calls=1)]

fails the next three calls; those after them are well again. The first of the list is the one in force.
Over HTTP each is an object with its `kind`: `{"kind": "server_error", "status": 503, "calls": 2}`.
"""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from simulator.messages import HTML, JSON, Answer, Ending

# What may stand in a header: printable, no blanks around.
HeaderText = Annotated[str, Meta(pattern=r"^([!-~]([ -~]*[!-~])?)?$")]
Bytes = Annotated[int, Meta(ge=0)]

RATE_LIMIT_BODY = (
    b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit. Please visit '
    b"https://www.coingecko.com/en/api/pricing to subscribe to our API plans for higher rate limits."
    b'"}}'
)
HTML_BODY = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Cloudflare</body></html>"


class Failure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """One thing that goes wrong, for so many `calls`; None stands for all."""

    ending: ClassVar[Ending] = Ending.WHOLE

    calls: Annotated[int, Meta(ge=1)] | None = None

    def spoil(self, answer: Answer) -> Answer:
        """Make of the true answer what the client gets to see."""
        return replace(answer, ending=self.ending)


class Hang(Failure, frozen=True, tag="hang"):
    """Never answers; the connection stays open."""

    ending: ClassVar[Ending] = Ending.NEVER


class ServerError(Failure, frozen=True, tag="server_error"):
    """A 5xx with CoinGecko's flat error."""

    status: Annotated[int, Meta(ge=500, le=599)] = 500

    def spoil(self, answer: Answer) -> Answer:
        """Put the error in its place."""
        body = b'{"error":"Something went wrong"}'
        return replace(answer, status=self.status, body=body, headers={"content-type": JSON})


class TooManyRequests(Failure, frozen=True, tag="too_many_requests"):
    """429 with any `Retry-After`, or with none; CoinGecko was also seen to send its body under status 200."""

    retry_after: HeaderText | None = "60"
    status: Literal[429, 200] = 429

    def spoil(self, answer: Answer) -> Answer:
        """Put the refusal in its place."""
        headers = {"content-type": JSON}
        if self.retry_after is not None:
            headers["retry-after"] = self.retry_after
        return replace(answer, status=self.status, body=RATE_LIMIT_BODY, headers=headers)


class Reset(Failure, frozen=True, tag="reset"):
    """A TCP reset in the middle of the body."""

    ending: ClassVar[Ending] = Ending.RESET


class Truncated(Failure, frozen=True, tag="truncated"):
    """A connection closed before all that `Content-Length` promises has come."""

    ending: ClassVar[Ending] = Ending.CUT


class Html(Failure, frozen=True, tag="html"):
    """A web page where JSON is due, as the firewall before CoinGecko sends it."""

    status: Annotated[int, Meta(ge=200, le=599)] = 200

    def spoil(self, answer: Answer) -> Answer:
        """Put the page in its place."""
        return replace(answer, status=self.status, body=HTML_BODY, headers={"content-type": HTML})


class InvalidJson(Failure, frozen=True, tag="invalid_json"):
    """The true body without its last bytes, as if it were whole."""

    missing_bytes: Annotated[int, Meta(ge=1)] = 1

    def spoil(self, answer: Answer) -> Answer:
        """Take the end away."""
        return replace(answer, body=answer.body[: -self.missing_bytes])


class Huge(Failure, frozen=True, tag="huge"):
    """The true answer, made this much longer by blanks: valid JSON, and only its size is wrong."""

    padding_bytes: Bytes = 100_000_000

    def spoil(self, answer: Answer) -> Answer:
        """Blow the answer up."""
        return replace(answer, padding_bytes=self.padding_bytes)


class Gzip(Failure, frozen=True, tag="gzip"):
    """The true answer compressed, asked for or not; with padding, a bomb."""

    padding_bytes: Bytes = 0

    def spoil(self, answer: Answer) -> Answer:
        """Compress the answer."""
        headers = answer.headers | {"content-encoding": "gzip"}
        return replace(answer, headers=headers, padding_bytes=self.padding_bytes, gzipped=True)


class Redirect(Failure, frozen=True, tag="redirect"):
    """Sends the client elsewhere."""

    location: HeaderText = "https://example.com/"
    status: Annotated[int, Meta(ge=300, le=399)] = 302

    def spoil(self, answer: Answer) -> Answer:
        """Put the redirect in its place."""
        headers = {"content-type": HTML, "location": self.location}
        return replace(answer, status=self.status, body=HTML_BODY, headers=headers)


class Body(Failure, frozen=True, tag="body"):
    """Exactly this text as the body, whatever was asked."""

    text: str
    status: Annotated[int, Meta(ge=200, le=599)] = 200

    def spoil(self, answer: Answer) -> Answer:
        """Put the text in its place."""
        return replace(answer, status=self.status, body=self.text.encode())


AnyFailure = (
    Hang | ServerError | TooManyRequests | Reset | Truncated | Html | InvalidJson | Huge | Gzip | Redirect | Body
)
