"""A data directory on the command line: where its store is, and how what is in it is written out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from runstate.cli.console import say, show_page, write_json
from runstate.cli.failures import Usage

if TYPE_CHECKING:
    from runstate.core.commit import Commit
    from runstate.journal.sqlite_check import Checked

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A data directory, such as .runstate.", show_default=False)
]


def store(directory: Path) -> Path:
    """Return the store of a data directory; raises Usage where there is none."""
    from runstate.journal.sqlite import STORE_NAME

    path = directory / STORE_NAME
    if not path.exists():
        raise Usage(f"there is no store in {directory}; name a data directory, one that holds {STORE_NAME}")
    return path


@contextlib.contextmanager
def output(path: Path | None) -> Iterator[BinaryIO]:
    """Lend stdout, or a file that is there under its name only once it is whole."""
    if path is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if path.exists() and not path.is_file():  # a pipe, a device
        with path.open("wb") as file:
            yield file
        return
    if not path.parent.is_dir():
        raise Usage(f"{path} cannot be written: there is no directory {path.parent}; make it, or name another file")
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def line(commit: Commit, *, is_complete: bool) -> bytes:
    """Return a commit as one line of JSON."""
    import msgspec

    from runstate.core.times import format_time

    return msgspec.json.encode({
        "position": str(commit.position),
        "at": format_time(commit.at_ms),
        "cause": msgspec.Raw(commit.cause.encoded),
        "complete": is_complete,
        "changes": [
            {
                "kind": document.key.kind,
                "id": document.key.id,
                "version": document.version,
                "digest": document.digest,
                "old_state": document.old_state,
                "new_state": document.run.state if document.key.kind == "run" else "",
                "document": msgspec.Raw(document.encoded),
            }
            for document in (change.document for change in commit.changes)
        ],
    })  # fmt: skip


def write_checked(directory: Path, checked: Checked) -> None:
    """Print what a check found as JSON."""
    from runstate.core.canonical import encode

    facts = {
        "ok": not checked.findings,
        "directory": str(directory),
        "epoch": checked.epoch,
        "revision": checked.revision,
        "floor": checked.floor,
        "documents": {"runs": checked.runs, "pipelines": checked.pipelines},
        "versions": checked.versions,
        "commits": checked.commits,
        "notes": checked.notes,
        "bytes": checked.size_bytes,
        "findings": [asdict(finding) for finding in checked.findings],
    }
    write_json(encode(facts))


def show_checked(checked: Checked) -> None:
    """Print what a check found for a person."""
    from rich.table import Table

    documents = checked.runs + checked.pipelines
    floor = f"{checked.floor:,}  (only later commits have all of their changes)" if checked.floor else "0"
    facts = {
        "documents": f"{documents:,}  ({checked.runs:,} runs, {checked.pipelines:,} pipelines)",
        "versions": f"{checked.versions:,}",
        "commits": f"{checked.commits:,}  (up to revision {checked.revision:,})",
        "notes": f"{checked.notes:,}",
        "epoch": checked.epoch,
        "floor": floor,
        "bytes": f"{checked.size_bytes:,}  ({size(checked.size_bytes)})",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    show_page(table)
    for finding in checked.findings:
        say(f"✘ {finding}")
    count = len(checked.findings)
    say("✔ everything verifies" if count == 0 else f"{count} finding{'s' if count > 1 else ''}; restore a backup")


def size(count: float) -> str:
    """Return a number of bytes as a person writes it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
