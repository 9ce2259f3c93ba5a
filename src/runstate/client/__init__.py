"""The Python client: `async with connect(url) as client`.

core/link, core/replica, core/poll, core/retry   decide
follow.py       the loop around a link         transports.py   WebSocket, event stream, long-poll
frames.py       a server's bytes become frames  http.py         reads and commands
watches.py      what the open watches show      api.py          what a program asks
reporting.py    a run that this program executes, told in reports; track.py, track_sync.py its two faces
"""

from __future__ import annotations

from runstate.client.api import Client, connect
from runstate.client.errors import Problem, ServerAway, ServerUnreachable, Stopped
from runstate.client.http import PipelineReceipt, Receipt, RunList
from runstate.client.track import TrackedRun, TrackedStage
from runstate.client.track_sync import track_sync
from runstate.client.view import View

__all__ = [
    "Client",
    "PipelineReceipt",
    "Problem",
    "Receipt",
    "RunList",
    "ServerAway",
    "ServerUnreachable",
    "Stopped",
    "TrackedRun",
    "TrackedStage",
    "View",
    "connect",
    "track_sync",
]
