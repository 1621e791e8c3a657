"""`/docs`: Swagger UI from our own files, so that it works without the internet."""

from pathlib import Path

from quart import Blueprint, Response, send_from_directory
from quart_schema import hide

blueprint = Blueprint("docs", __name__)

_STATIC = Path(__file__).parent.parent / "static"
# Swagger UI styles its parts inline; nothing comes from elsewhere.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"


@blueprint.get("/docs")
@hide
async def docs() -> Response:
    """The page."""
    response = await send_from_directory(_STATIC, "docs.html")
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@blueprint.get("/docs/<any('docs.js', 'swagger-ui-bundle.js', 'swagger-ui.css', 'favicon-32x32.png'):name>")
@hide
async def docs_asset(name: str) -> Response:
    """What the page needs."""
    folder = _STATIC if name == "docs.js" else _STATIC / "swagger-ui"
    return await send_from_directory(folder, name, cache_timeout=3600)
