"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.failures import Usage
from runstate.core.canonical import Json

DEFAULT_URL = "http://127.0.0.1:8642"
DEFAULT_PORT = 8642
_TOKEN = re.compile(r"[!-~]+")

Url = Annotated[
    str, typer.Option("--url", envvar="RUNSTATE_URL", metavar="URL", help="Where the server is.", show_envvar=True)
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="RUNSTATE_TOKEN",
        metavar="T",
        help="Lets you in where a server asks. Other users here can see a command line, not the variable.",
        show_envvar=True,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Data = Annotated[Path, typer.Option("--data", metavar="DIR", help="Where runs are kept; made if need be.")]
Meta = Annotated[
    list[str] | None,
    typer.Option(
        "--meta", metavar="K=V", help="Metadata of the run; V is JSON if it reads as JSON, else text. Repeat."
    ),
]
StageNames = Annotated[
    list[str] | None, typer.Option("--stage", metavar="NAME", help="Run only this stage; repeat for several.")
]
Override = Annotated[bool, typer.Option("--override", help="Start also while the pipeline is degraded or unstable.")]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Any but a loopback address needs tokens.")]
Port = Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0 picks a free one.")]
RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the unique beginning of one, or `latest`.", show_default=False)
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="FILE.py, package.module or runstate.toml, also with :NAME.", show_default=False
    ),
]
Targets = Annotated[
    list[str],
    typer.Argument(
        metavar="TARGET", help="FILE.py, package.module or runstate.toml, also with :NAME.", show_default=False
    ),
]


def parse_meta(items: Sequence[str] | None) -> dict[str, Json]:
    """Return the metadata that `--meta K=V …` spells.

    Raises:
        Usage: An item has no name or no `=`, a name stands twice, or a value may not stand in a document.
    """
    from runstate.core.canonical import check, decode
    from runstate.core.errors import InvalidValue

    metadata: dict[str, Json] = {}
    for item in items or ():
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise Usage(f"--meta {item} is not of the form name=value")
        if name in metadata:
            raise Usage(f"--meta {name} is given twice")
        try:
            value = decode(text)
        except InvalidValue:
            value = text
        try:
            check(value, f"--meta {name}")
            check(name, f"the name of --meta {name!r}")
        except InvalidValue as refusal:
            raise Usage(str(refusal)) from None
        metadata[name] = value
    return metadata


def parse_token(token: str | None) -> str | None:
    """Return a token that may travel in a header; None where none is given.

    Raises:
        Usage: It may not; the text does not show it.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise Usage("--token is empty or holds blanks, line ends or letters beyond ASCII; use others")
    return token


def parse_stages(names: Sequence[str] | None) -> list[str] | None:
    """Return the stages that `--stage NAME …` asks for; None where it does not stand. `a,b` is `a` and `b`."""
    if not names:
        return None
    return [part for name in names for part in name.split(",")]
