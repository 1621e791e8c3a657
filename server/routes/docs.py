"""`/docs`: Swagger UI from our own files, so that it works without the internet, and what kinds of errors there are."""

from functools import cache
from html import escape
from mimetypes import guess_type
from pathlib import Path

import trio
from quart import Blueprint, Response, request
from quart_schema import hide
from werkzeug.http import generate_etag

from server.problems import PAGE, anchor, kinds, title

blueprint = Blueprint("docs", __name__)

_STATIC = Path(__file__).parent.parent / "static"
# Swagger UI styles its parts inline; nothing comes from elsewhere.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


@blueprint.get("/docs")
@hide
async def docs() -> Response:
    """The page."""
    response = await _file("docs.html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.get("/docs/<any('docs.js', 'swagger-ui-bundle.js', 'swagger-ui.css', 'favicon-32x32.png'):name>")
@hide
async def docs_asset(name: str) -> Response:
    """What the page needs."""
    return await _file(name if name == "docs.js" else f"swagger-ui/{name}")


@blueprint.get(PAGE)
@hide
async def errors() -> Response:
    """What the `type` of a problem leads to: every kind of error."""
    await trio.lowlevel.checkpoint()
    told = "".join(
        f'<h2 id="{anchor(kind)}">{escape(title(kind))}</h2><p>{kind.status}: {escape(kind.__doc__ or "")}</p>\n'
        for kind in kinds()
    )
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Errors</title>\n<h1>Errors</h1>\n{told}</html>'
    return Response(page, headers={"Content-Security-Policy": _POLICY})


async def _file(path: str) -> Response:
    """Answer with a file of ours."""
    content, tag = _content(path)
    response = Response(content, mimetype=guess_type(path)[0])
    response.cache_control.public = True
    response.cache_control.max_age = 3600
    response.set_etag(tag)
    return await response.make_conditional(request)


@cache
def _content(path: str) -> tuple[bytes, str]:
    """Read once, and its tag with it, since files of ours do not change; Quart would read 8 kB at a time."""
    content = (_STATIC / path).read_bytes()
    return content, generate_etag(content)
