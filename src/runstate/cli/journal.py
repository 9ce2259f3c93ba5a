"""`journal check | export | backup | compact`: the store of a data directory as a tool.

The first three read one consistent cut beside whoever writes; only `compact` needs the directory for itself.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from runstate.cli.console import say, show_page, tell, write_json
from runstate.cli.failures import DONE, FAILED, Failure, Usage
from runstate.cli.options import AsJson

if TYPE_CHECKING:
    from runstate.core.commit import Commit
    from runstate.journal.sqlite_check import Checked
    from runstate.journal.sqlite_files import Room
    from runstate.ports import Retention

DAY_MS = 86_400_000
MAX_DAYS = 36_500  # also keeps out what is no number
COMPACTED_AT_ONCE = 5000  # versions in one turn; nobody waits for another's turn here

Directory = Annotated[
    Path, typer.Argument(metavar="DIR", help="A data directory, such as .runstate.", show_default=False)
]

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="The store of a data directory: check, export, back up, compact."
)


class Held(Failure):
    """A living process writes to the directory."""

    code = "in_use"


def check(directory: Directory, as_json: AsJson = False) -> int:
    """Verify everything in a store, also while a server writes to it.

    Looks at every version of every document that is kept: no revision is missing, each patch leads from the version
    before to bytes that have the recorded digest, and each head is what its history leads to. Prints what there is, then
    one line per finding with its place. Exits 1 if there is a finding. Changes nothing and needs no lock: it sees the
    store as it was at one moment.
    """
    from runstate.core.model import decode_ledger
    from runstate.journal.sqlite_check import check_store
    from runstate.state.notes import LEDGER

    checked = check_store(_store(directory), {LEDGER: decode_ledger})
    if as_json:
        _write_checked(directory, checked)
    else:
        _show_checked(checked)
    return FAILED if checked.findings else DONE


def export(
    directory: Directory,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Only what happened to this run.")] = None,
    output: Annotated[
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

    with reading(_store(directory)) as db, _output(output) as file:
        floor = log_floor(db)
        for commit in commits(db, run):
            file.write(_line(commit, is_complete=commit.position.revision > floor) + b"\n")
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

    copied = back_up(_store(directory), target / STORE_NAME)
    say(
        f"backed up {directory} to {target}: every commit up to revision {copied.revision:,}, {_size(copied.size_bytes)}; "
        f"verify it: runstate journal check {target}"
    )
    return DONE


def compact(
    directory: Directory,
    keep_versions: Annotated[
        int | None, typer.Option("--keep-versions", metavar="N", min=1, help="Keep the latest N of each document.")
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option("--keep-days", metavar="D", min=0, max=MAX_DAYS, help="Keep what is younger than D days."),
    ] = None,
) -> int:
    """Remove old versions of a store that no server holds, and give the room back to the disk.

    A version goes if it is older than --keep-days or not among the latest --keep-versions of its document. The latest
    version of every run and pipeline always stays: retention thins history, it deletes no run. What stays, stays byte for
    byte; reading what went answers 410 `compacted`. It can be interrupted at any time and done again. A running server
    does this by itself, by the settings [store] keep_days and keep_versions.
    """
    from runstate.engine import SystemClock
    from runstate.ports import Retention

    if keep_versions is None and keep_days is None:
        raise Usage("say what to keep: --keep-versions N, --keep-days D, or both")
    now_ms = SystemClock().now_ms()
    before_ms = None if keep_days is None else now_ms - round(keep_days * DAY_MS)
    path = _store(directory)
    with _held(directory, now_ms):
        _compact(directory, Retention(keep_versions, before_ms))
        _say_room(_give_back(path))
    return DONE


def _compact(directory: Path, retention: Retention) -> None:
    from runstate.engine import SystemClock
    from runstate.journal.sqlite import SqliteJournal

    journal, _ = SqliteJournal.open(directory, clock=SystemClock(), create=False)
    versions = commits = damaged = floor = 0
    following: int | None = 0
    with contextlib.closing(journal):
        while following is not None:
            turn = journal.compact(retention, after=following, limit=COMPACTED_AT_ONCE)
            versions, commits, damaged = versions + turn.versions, commits + turn.commits, damaged + turn.damaged
            floor, following = turn.floor, turn.next
    say(f"removed {versions:,} versions and {commits:,} commits; every commit after revision {floor:,} is whole")
    if damaged:
        tell(
            f"runstate: {damaged} documents do not verify and were left as they are; "
            f"see runstate journal check {directory}"
        )


def _give_back(path: Path) -> Room:
    from runstate.core.errors import StoreUnavailable
    from runstate.journal.sqlite_files import give_back

    try:
        return give_back(path)
    except StoreUnavailable as exc:
        raise Failure(f"the versions are removed, but the file did not get smaller: {exc}") from exc


def _say_room(room: Room) -> None:
    after = _size(room.after_bytes)
    if room.after_bytes < room.before_bytes:
        say(f"freed {_size(room.before_bytes - room.after_bytes)}: the store went to {after}")
    else:
        unused = _size(room.unused_bytes)
        say(f"the store stays at {after}, {unused} of which later commits will use; less is not worth rewriting it")


@contextlib.contextmanager
def _held(directory: Path, now_ms: int) -> Iterator[None]:
    from runstate.core.errors import StoreInUse
    from runstate.journal.lock import DirectoryLock

    try:
        lock = DirectoryLock.acquire(directory, now_ms=now_ms)
    except StoreInUse as refusal:
        owner = "another process" if refusal.pid is None else f"process {refusal.pid}"
        where = "" if refusal.url is None else f", which serves {refusal.url}"
        raise Held(
            f"data directory {directory} is in use by {owner}{where}; a server compacts by its own settings, "
            "[store] keep_days and keep_versions, and for this command it must be stopped"
        ) from refusal
    try:
        yield
    finally:
        lock.release()


def _store(directory: Path) -> Path:
    from runstate.journal.sqlite import STORE_NAME

    path = directory / STORE_NAME
    if not path.exists():
        raise Usage(f"there is no store in {directory}; name a data directory, one that holds {STORE_NAME}")
    return path


@contextlib.contextmanager
def _output(path: Path | None) -> Iterator[BinaryIO]:
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
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _line(commit: Commit, *, is_complete: bool) -> bytes:
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


def _write_checked(directory: Path, checked: Checked) -> None:
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


def _show_checked(checked: Checked) -> None:
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
        "bytes": f"{checked.size_bytes:,}  ({_size(checked.size_bytes)})",
    }
    table = Table.grid(padding=(0, 2))
    for name, value in facts.items():
        table.add_row(name, value)
    show_page(table)
    for finding in checked.findings:
        say(f"✘ {finding}")
    count = len(checked.findings)
    say("✔ everything verifies" if count == 0 else f"{count} finding{'s' if count > 1 else ''}; restore a backup")


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"


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
