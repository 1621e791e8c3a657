"""`POST /auth/login`: a password for a token."""

from pydantic import Field
from quart import Blueprint, Response
from quart_schema import document_request, tag

from core.errors import Unauthorized
from core.settings import Settings
from server.answers import TokenBody, answer
from server.asked import Asked, current
from server.auth import issue_token
from server.callers import caller_address
from server.charges import charge
from server.examples import NO_PASSWORD, TOKEN, TOO_MANY_LOGINS, WRONG_PASSWORD
from server.inputs import Input, read_body, read_query
from server.openapi import LIMIT_HEADERS, UNCHARGED, documented

blueprint = Blueprint("auth", __name__)


_TOLD = {400: NO_PASSWORD, 401: WRONG_PASSWORD, 429: TOO_MANY_LOGINS}


class Login(Input):
    """Who wants a token."""

    username: str = Field(description="a text, required.", examples=["admin"])
    password: str = Field(description="a text, required.", examples=["correct horse"])


@blueprint.post("/auth/login")
@documented(
    TokenBody,
    400,
    401,
    408,
    413,
    415,
    429,
    503,
    headers=LIMIT_HEADERS,
    uncharged=UNCHARGED - {401},
    example=TOKEN,
    told=_TOLD,
)
@document_request(Login)
@tag(["auth"])
async def login() -> Response:
    """Exchange a user name and a password for an access token.

    They are those of ADMIN_USER and ADMIN_PASS; `cryptopulse dev` makes a password up, in secrets.json of its folder.
    """
    asked = current()
    read_query(Input, asked)
    credentials = await read_body(Login)
    settings = asked.services.settings
    asked.notes.caller = caller = f"login:{_client_address(asked)}"
    await charge(asked, caller, settings.throttle_login_limit)
    if not await asked.services.admin.is_right(credentials.username, credentials.password):
        raise Unauthorized("Wrong user name or password.")
    return _token_for(credentials.username, settings)


def _client_address(asked: Asked) -> str:
    client = asked.scope.get("client")
    trusted = asked.services.settings.trusted_proxies
    return caller_address(client[0] if client else None, asked.header("x-forwarded-for"), trusted)


def _token_for(username: str, settings: Settings) -> Response:
    token = issue_token(
        settings.jwt_secret.get_secret_value(),
        subject=username,
        username=username,
        expires_s=settings.jwt_expires_s,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
    )
    body = TokenBody(token, "Bearer", settings.jwt_expires_in)
    return answer(body, {"Cache-Control": "no-store"})
