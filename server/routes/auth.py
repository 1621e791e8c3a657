"""`POST /auth/login`: a password for a token."""

import hashlib
import hmac

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
from server.inputs import Input, read_body, read_query
from server.openapi import LIMIT_HEADERS, UNCHARGED, documented

blueprint = Blueprint("auth", __name__)


class Login(Input):
    """Who wants a token."""

    username: str = Field(description="a text, required.")
    password: str = Field(description="a text, required.")


@blueprint.post("/auth/login")
@documented(TokenBody, 400, 401, 408, 413, 415, 429, 503, headers=LIMIT_HEADERS, uncharged=UNCHARGED - {401})
@document_request(Login)
@tag(["auth"])
async def login() -> Response:
    """Exchange a user name and a password for an access token."""
    asked = current()
    read_query(Input, asked)
    credentials = await read_body(Login)
    settings = asked.services.settings
    asked.notes.caller = caller = f"login:{_client_address(asked)}"
    await charge(asked, caller, settings.throttle_login_limit)
    if not _is_right(credentials, settings):
        raise Unauthorized("Wrong user name or password.")
    return _token_for(credentials.username, settings)


def _client_address(asked: Asked) -> str:
    client = asked.scope.get("client")
    trusted = asked.services.settings.trusted_proxies
    return caller_address(client[0] if client else None, asked.header("x-forwarded-for"), trusted)


def _is_right(given: Login, settings: Settings) -> bool:
    """Compare both in the same time whatever is wrong: nobody learns a user name by the clock."""
    user_matches = _same(given.username, settings.admin_user)
    password_matches = _same(given.password, settings.admin_pass.get_secret_value())
    return user_matches and password_matches


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(_digest(given), _digest(expected))


def _digest(text: str) -> bytes:
    # Of one length, so that the comparison does not tell the length either.
    return hashlib.sha256(text.encode()).digest()


def _token_for(username: str, settings: Settings) -> Response:
    token = issue_token(
        settings.jwt_secret.get_secret_value(),
        subject=username,
        username=username,
        expires_s=settings.jwt_expires_s,
    )
    body = TokenBody(token, "Bearer", settings.jwt_expires_in)
    return answer(body, {"Cache-Control": "no-store"})
