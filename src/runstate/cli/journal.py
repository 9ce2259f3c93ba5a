"""`journal check | export | backup | compact`: the store of a data directory as a tool.

The first three read one consistent cut beside whoever writes; `compact` (`cli/compact.py`) asks a server that holds the
directory, and does it itself where nobody does.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from runstate.cli.compact import compact
from runstate.cli.console import say
from runstate.cli.failures import DONE, FAILED
from runstate.cli.options import AsJson
from runstate.cli.stores import Directory, line, output, show_checked, size, store, write_checked

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="The store of a data directory: check, export, back up, compact."
)


def check(directory: Directory, as_json: AsJson = False) -> int:
    """Verify everything in a store, also while a server writes to it.

    Looks at every version of every document that is kept: no revision is missing, each patch leads from the version
    before to bytes that have the recorded digest, and each head is what its history leads to. Prints what there is, then
    one line per finding with its place. Exits 1 if there is a finding. Changes nothing and needs no lock: it sees the
    store as it was at one moment.
    """
    from runstate.core.model import decode_ledger
    from runstate.journal.sqlite_check import check_store
    from runstate.state.notes import LEDGER, REPORTER, decode_reporter

    checked = check_store(store(directory), {LEDGER: decode_ledger, REPORTER: decode_reporter})
    if as_json:
        write_checked(directory, checked)
    else:
        show_checked(checked)
    return FAILED if checked.findings else DONE


def export(
    directory: Directory,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Only what happened to this run.")] = None,
    file_name: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Instead of stdout; replaced when all is written."),
    ] = None,
) -> int:
    """Write every commit of a store as JSON lines, oldest first, also while a server writes to it.

    One line per commit: position, at, cause, and changes, each with kind, id, version, digest, old_state, new_state and
    the whole document. `complete` is false where compaction may have taken some of a commit's changes. Each document is
    verified against its digest; damage ends the export with exit code 1.
    """
    from runstate.journal.sqlite_files import commits, reading
    from runstate.journal.sqlite_read import log_floor

    with reading(store(directory)) as db, output(file_name) as file:
        floor = log_floor(db)
        for commit in commits(db, run):
            file.write(line(commit, is_complete=commit.position.revision > floor) + b"\n")
    return DONE


def backup(
    directory: Directory,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new directory for the copy.", show_default=False)],
) -> int:
    """Copy a store, also while a server writes to it, to a directory that can be served.

    The copy holds every commit up to one revision, lies on the disk when this returns, and never replaces anything. It
    holds the runs' documents and history, not their logs and work folders.

    To restore, stop the server, move the old data directory away and serve the copy: `runstate serve … --data TARGET`.
    If you put its journal.db into an old directory instead, first remove journal.db-wal and journal.db-shm there: they
    belong to the old store. The first opening begins a new epoch, so every reader knows that the store was restored and
    takes a snapshot; revisions and versions go on where the copy ends, and no document changes.
    """
    from runstate.journal.sqlite import STORE_NAME
    from runstate.journal.sqlite_files import back_up

    copied = back_up(store(directory), target / STORE_NAME)
    say(
        f"backed up {directory} to {target}: every commit up to revision {copied.revision:,}, {size(copied.size_bytes)}; "
        f"verify it: runstate journal check {target}"
    )
    return DONE


COMMANDS: list[tuple[str, Callable[..., int], str]] = [
    ("check", check, "runstate journal check .runstate"),
    ("export", export, "runstate journal export .runstate -o commits.jsonl"),
    ("backup", backup, "runstate journal backup .runstate backups/monday"),
    ("compact", compact, "runstate journal compact .runstate --keep-days 30"),
]
for _name, _function, _example in COMMANDS:
    app.command(_name, epilog=f"Example: {_example}", context_settings={"help_option_names": ["-h", "--help"]})(
        _function
    )
