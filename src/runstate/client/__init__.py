"""The Python client: `async with connect(url) as client`.

core/link, core/replica   decide                 frames.py      a server's bytes become frames
follow.py                 the loop around them   transports.py  WebSocket and event stream
api.py                    what a program asks    http.py        reads and commands
"""

from __future__ import annotations

from runstate.client.api import Client, connect
from runstate.client.errors import Problem, ServerUnreachable
from runstate.client.http import Receipt, RunList
from runstate.client.view import View

__all__ = ["Client", "Problem", "Receipt", "RunList", "ServerUnreachable", "View", "connect"]
