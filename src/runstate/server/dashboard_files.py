"""The dashboard's files, as `npm run build` left them beside this module."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

DIRECTORY = Path(__file__).parent / "dashboard"

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_MISSING = """<!doctype html><meta charset="utf-8"><title>runstate</title>
<p>The server is running, but this copy of runstate has no dashboard. In a checkout, build it with <code>make web</code>.
The API is at <a href="api/pipelines">api/pipelines</a>.</p>
"""


class DashboardFiles(StaticFiles):
    """Static files with a content security policy; what has a hash in its name never changes."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file at `path`."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        is_hashed = path.startswith("assets/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        return response


def dashboard_routes() -> list[BaseRoute]:
    """Return the routes of the dashboard, or of a page that says it is not there."""
    if (DIRECTORY / "index.html").exists():
        return [Mount("/", DashboardFiles(directory=DIRECTORY, html=True))]
    return [Route("/", _missing)]


async def _missing(_: Request) -> Response:
    return HTMLResponse(_MISSING, headers=HEADERS)
