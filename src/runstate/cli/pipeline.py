"""`acknowledge` and `schedule`: what people decide about a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import say, write_json
from runstate.cli.failures import DONE
from runstate.cli.options import DEFAULT_URL, AsJson, Token, Url

if TYPE_CHECKING:
    from runstate.client import Client
    from runstate.core.model import PipelineDocument

Name = Annotated[str, typer.Argument(metavar="PIPELINE", help="Its name.", show_default=False)]


def acknowledge(
    pipeline: Name,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why it may run again, for all to see.", show_default=False)
    ],
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Take note of what a pipeline's runs did, so that they count no more for its health.

    A pipeline whose run policy is `gated` starts nothing while it is blocked, until somebody does this.
    """
    from runstate.cli.remote import ask

    async def answer(server: Client) -> PipelineDocument:
        return (await server.acknowledge(pipeline, reason)).document

    return _report(ask(url, token, answer), as_json=as_json)


def schedule(
    pipeline: Name,
    *,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="CRON", help="Five fields, or six with seconds in front.")
    ] = None,
    tz: Annotated[str | None, typer.Option("--tz", metavar="ZONE", help="IANA time zone, as America/Chicago.")] = None,
    missed: Annotated[
        str | None, typer.Option("--missed", metavar="POLICY", help="For times without a server: skip or run_once.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option("--overlap", metavar="POLICY", help="While a run is active: skip or queue.")
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether it fires.", show_default=False)
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
    as_json: AsJson = False,
) -> int:
    """Show when a pipeline runs by itself and how healthy it is; with options, set that first.

    What is set here wins over the definition until the definition changes. An option that is left out stays as it is.
    """
    from runstate.cli.remote import ask

    async def answer(server: Client) -> PipelineDocument:
        if {cron, tz, missed, overlap, enabled} == {None}:
            return await server.get_pipeline(pipeline)
        receipt = await server.set_schedule(pipeline, cron=cron, tz=tz, missed=missed, overlap=overlap, enabled=enabled)
        return receipt.document

    return _report(ask(url, token, answer), as_json=as_json)


def _report(document: PipelineDocument, *, as_json: bool) -> int:
    if as_json:
        write_json(document.encoded())
        return DONE

    from runstate.cli.lines import owner_lines
    from runstate.engine import SystemClock

    for line in owner_lines(document.to_dict(), now_ms=SystemClock().now_ms()):
        say(line)
    return DONE
