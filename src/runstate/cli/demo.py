"""`demo`: the market pipeline on the market data that comes with runstate, served with the dashboard.

All of it is below a directory of its own: the store, the raw data, the configuration and the results. It never meets the
runs of somebody's own store, which an engine that serves other pipelines would end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from logging import WARNING
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runstate.cli.console import logging_to, say
from runstate.cli.failures import DONE, FAILED, INTERRUPTED, Usage
from runstate.cli.options import DEFAULT_PORT, Port
from runstate.core.canonical import Json

if TYPE_CHECKING:
    from runstate.cli.follow import View
    from runstate.client import Client

HOST = "127.0.0.1"
CONFIG = "RUNSTATE_MARKET_CONFIG"
CONFIG_NAME = "market.toml"
ASK_S = 0.25  # between two looks whether the run is over


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Leave after the run; exit 0 if it was a success, 1 otherwise.")
    ] = False,
    port: Port = DEFAULT_PORT,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where all of the demo is kept; made if need be.")
    ] = Path(".runstate/demo"),
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the dashboard in a browser.")] = False,
) -> int:
    """See runstate at work: real market data through translator, analyzer and merger, with the dashboard.

    Lays out EUR/USD of 2017 and a commented configuration in DIR, serves the market pipeline from there, starts one run and
    opens the dashboard where there is a browser; stays until Ctrl-C. With --once it leaves after the run, and its last line
    says where the report is. Your own runs in .runstate are left alone.
    """
    from runstate.cli.follow import view
    from runstate.cli.local import in_loop
    from runstate.cli.target import TARGET_DIR
    from runstate.core.errors import StoreInUse
    from runstate.engine import SystemClock
    from runstate.journal.lock import read_owner
    from runstate.journal.sqlite import STORE_NAME
    from runstate.market.demo import write_demo
    from runstate.server.serve import PortInUse, listen

    owner = read_owner(data)
    if owner is not None:
        raise StoreInUse(str(data), owner.pid, owner.url)
    if (data / STORE_NAME).exists() and not (data / CONFIG_NAME).exists():
        raise Usage(f"{data} keeps runs that are not the demo's, and it would end them; name another with --data")
    try:
        listen(HOST, port).close()
    except PortInUse:
        if not once:
            raise
        say(f"port {port} is in use, taking a free one")
        port = 0
    config = write_demo(data).resolve()
    os.environ[CONFIG], os.environ[TARGET_DIR] = str(config), str(config.parent)
    with view(SystemClock().now_ms) as shown, logging_to(shown.note, least=WARNING):
        show = _Demo(shown, once=once, open_browser=not (once or no_browser) and _has_browser())
        in_loop(show.run(data, port))
    return show.report()


def _has_browser() -> bool:
    on_screen = sys.platform == "darwin" or "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return on_screen and sys.stdout.isatty()


class _Demo:
    """One server, one run, one view of both."""

    def __init__(self, shown: View, *, once: bool, open_browser: bool) -> None:
        self._view, self._once, self._open_browser = shown, once, open_browser
        self._last: dict[str, Json] | None = None  #: Of the run that was started here, once it is over.

    async def run(self, data: Path, port: int) -> None:
        """Serve, run and show until a signal, or with `once` until the run is over."""
        import asyncio

        from runstate.cli.stage_log import StageLog
        from runstate.market import market
        from runstate.server.serve import serve

        log = StageLog()
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_line(line: Any) -> None:
            words = log.words(line)
            if words is not None:
                self._view.note(words)

        async with asyncio.TaskGroup() as group:
            serving = group.create_task(
                serve([market], data, host=HOST, port=port, on_ready=ready.set_result, on_line=on_line)
            )
            # A server that cannot start ends the group, and with it this wait.
            showing = group.create_task(self._show(await ready))
            await serving
            showing.cancel()

    async def _show(self, url: str) -> None:
        from runstate.cli.remote import start_or_join
        from runstate.client import connect

        say(f"runstate is serving {url}")
        if self._open_browser:
            import asyncio
            import webbrowser

            await asyncio.to_thread(webbrowser.open, url)
        async with connect(url) as server:
            run_id = str((await start_or_join(server, "market")).run_id)
            self._last = await to_end(server, run_id, self._view)
            if self._once:
                signal.raise_signal(signal.SIGTERM)
                return
            say(last_line(self._last))
            self._view.note(f"the dashboard is at {url}; Ctrl-C ends the demo")
            await _watch(server, self._view)

    def report(self) -> int:
        """Print the last line, and return the exit code."""
        if not self._once:
            return DONE
        if self._last is None:
            return INTERRUPTED
        say(last_line(self._last))
        return DONE if self._last["state"] == "success" else FAILED


async def to_end(server: Client, run_id: str, shown: View) -> dict[str, Json]:
    """Show the market pipeline until a run of it is over, and return that run's last document.

    The end is asked for and not watched for: whatever becomes of the stream, the demo ends when its run does.
    """
    import asyncio

    from runstate.client import ServerUnreachable
    from runstate.core.machine import is_over

    async with asyncio.TaskGroup() as group:
        watching = group.create_task(_watch(server, shown))
        while True:
            with contextlib.suppress(ServerUnreachable):  # it is in this process: busy, or about to end, and we with it
                run = await server.get_run(run_id)
                if is_over(run.state):
                    break
            await asyncio.sleep(ASK_S)
        watching.cancel()
    document = run.to_dict()
    shown.show([document])
    return document


async def _watch(server: Client, shown: View) -> None:
    from runstate.cli.remote import watch

    async for seen in watch(server, "pipeline:market"):
        shown.show(seen.shown())


def last_line(document: dict[str, Json]) -> str:
    """Return how the demo's run ended, as the README promises it."""
    begin = f"demo: run {document['run_id']} {document['state']}"
    if document["state"] == "success":
        return f"{begin} {document['stages']['merger']['outputs']['report_json']}"
    return f"{begin} {document['error'] or ''}".rstrip()
