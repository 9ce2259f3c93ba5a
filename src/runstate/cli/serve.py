"""`serve`: pipelines, their API and the dashboard on one port, until a signal says to end."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import logging_to, say, tell
from runstate.cli.failures import DONE, Usage
from runstate.cli.options import DEFAULT_PORT, Data, Host, Port, Targets, parse_token
from runstate.cli.words import clock_time

if TYPE_CHECKING:
    from runstate.server.access import Policy
    from runstate.state.retention import Keep

_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")

OneToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="RUNSTATE_TOKEN",
        metavar="T",
        help="Only who sends it gets in. Other users here can see a command line, not the variable.",
        show_envvar=True,
        show_default=False,
    ),
]
TokensFile = Annotated[
    Path | None,
    typer.Option(
        "--tokens",
        metavar="FILE",
        help='TOML: [[token]] with name, token, scope = "read" or "control", and expires if it has an end.',
        show_default=False,
    ),
]
Origins = Annotated[
    list[str] | None,
    typer.Option("--allow-origin", metavar="O", help="Pages from there may use this server; repeat for several."),
]


def serve(
    targets: Targets,
    *,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    data: Data = Path(".runstate"),
    token: OneToken = None,
    tokens: TokensFile = None,
    allow_origin: Origins = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Any --host without tokens: everybody who reaches it may command.")
    ] = False,
    keep_days: Annotated[
        float | None,
        typer.Option(
            "--keep-days",
            metavar="D",
            min=0,
            help="Thin history: versions and logs older than D days go.",
            show_default=False,
        ),
    ] = None,
    keep_versions: Annotated[
        int | None,
        typer.Option(
            "--keep-versions", metavar="N", min=1, help="Thin history: the latest N of each stay.", show_default=False
        ),
    ] = None,
    log_mib: Annotated[
        int, typer.Option("--log-mib", metavar="N", min=1, help="Of each run's log the latest N MiB stay.")
    ] = 64,
    plain: Annotated[
        bool, typer.Option("--plain", help="Answer everything through the ordinary ASGI path, as when embedded.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the stages' log lines on stderr.")] = False,
) -> int:
    """Serve pipelines: the API, the live stream and the dashboard on one port.

    Every pipeline at the top level of the TARGETs can be started; the first is the default. Runs that were interrupted in
    this data directory go on. SIGTERM or Ctrl-C ends it cleanly: running stages are interrupted and go on at the next start;
    a second signal leaves at once. Prints one line with the URL once it accepts connections. Without tokens everybody on this
    machine may use it; with them --host may be any address.
    """
    policy = _policy(token, tokens, allow_origin or [], insecure=insecure)
    os.environ.pop("RUNSTATE_TOKEN", None)  # stages inherit the environment, and need no key to the server

    from runstate.cli.local import in_loop
    from runstate.cli.stage_log import StageLog
    from runstate.cli.target import TARGET_DIR, load_targets
    from runstate.engine import SystemClock
    from runstate.pipeline.runlog import Line

    def note(text: str) -> None:
        tell(f"{clock_time(SystemClock().now_ms())} {text}")

    with logging_to(note):
        loaded = load_targets(targets)
        os.environ[TARGET_DIR] = str(loaded.folder)

        from runstate.server.serve import serve as serve_until_signal
        from runstate.state.retention import Keep

        log = StageLog()

        def on_line(line: Line) -> None:
            words = log.words(line)
            if words is not None:
                note(words)

        in_loop(
            serve_until_signal(
                loaded.pipelines,
                data,
                host=host,
                port=port,
                policy=policy,
                keep=_keep(loaded.keep or Keep(), keep_days, keep_versions),
                max_log_bytes=log_mib * 1024 * 1024,
                webhooks=loaded.webhooks,
                plain=plain,
                on_ready=lambda url: say(f"runstate is serving {url}"),
                on_line=on_line if verbose else None,
            )
        )
    return DONE


def _keep(said: Keep, days: float | None, versions: int | None) -> Keep:
    """Return what history keeps: what the command line says, else what a `runstate.toml` said."""
    from runstate.state.retention import Keep

    return Keep(said.days if days is None else days, said.versions if versions is None else versions)


def _policy(token: str | None, file: Path | None, origins: list[str], *, insecure: bool) -> Policy:
    """Return who may come in.

    Raises:
        Usage: The options do not fit together, or one is not of its form.
        BadTokens: The file is not one of tokens.
    """
    from runstate.server.access import Policy, Token, read_tokens

    secret = parse_token(token)
    if secret is not None and file is not None:
        raise Usage("--token (or RUNSTATE_TOKEN) and --tokens are two ways to say the same; leave one out")
    tokens = (Token("token", secret),) if secret is not None else read_tokens(file) if file is not None else ()
    return Policy(tokens, frozenset(map(_origin, origins)), any_host=insecure)


def _origin(text: str) -> str:
    """Return an origin as browsers send it."""
    origin = text.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(origin):
        raise Usage(f"--allow-origin {text} is not an origin; it looks like https://dash.example:3000")
    return origin
