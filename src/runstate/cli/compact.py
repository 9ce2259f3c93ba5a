"""`journal compact`: thin a store's history, by the server that holds it or, where none does, here."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runstate.cli.console import say, tell
from runstate.cli.failures import DONE, Failure, Usage
from runstate.cli.options import Token
from runstate.cli.stores import Directory, size, store

if TYPE_CHECKING:
    from runstate.core.errors import StoreInUse
    from runstate.journal.sqlite_files import Room
    from runstate.ports import Retention

DAY_MS = 86_400_000
MAX_DAYS = 36_500  # also keeps out what is no number
COMPACTED_AT_ONCE = 5000  # versions in one turn; nobody waits for another's turn here


class Held(Failure):
    """A living process that cannot be asked writes to the directory."""

    code = "in_use"


def compact(
    directory: Directory,
    keep_versions: Annotated[
        int | None, typer.Option("--keep-versions", metavar="N", min=1, help="Keep the latest N of each document.")
    ] = None,
    keep_days: Annotated[
        float | None,
        typer.Option("--keep-days", metavar="D", min=0, max=MAX_DAYS, help="Keep what is younger than D days."),
    ] = None,
    token: Token = None,
) -> int:
    """Remove old versions of a store; where no server holds it, give the room back to the disk.

    A version goes if it is older than --keep-days or not among the latest --keep-versions of its document. The latest
    version of every run and pipeline always stays: retention thins history, it deletes no run. What stays, stays byte for
    byte; reading what went answers 410 `compacted`. It can be interrupted at any time and done again. A server that holds
    the directory is asked to do it beside its traffic; it also does so by itself, by the settings [store] keep_days and
    keep_versions. Its file stays as large, with room for later commits.
    """
    from runstate.core.errors import StoreInUse
    from runstate.engine import SystemClock
    from runstate.journal.lock import DirectoryLock
    from runstate.ports import Retention

    if keep_versions is None and keep_days is None:
        raise Usage("say what to keep: --keep-versions N, --keep-days D, or both")
    now_ms = SystemClock().now_ms()
    before_ms = None if keep_days is None else now_ms - round(keep_days * DAY_MS)
    path = store(directory)
    try:
        lock = DirectoryLock.acquire(directory, now_ms=now_ms)
    except StoreInUse as holder:
        _ask_holder(directory, holder, keep_versions, keep_days, token)
        return DONE
    try:
        _compact(directory, Retention(keep_versions, before_ms))
        _say_room(_give_back(path))
    finally:
        lock.release()
    return DONE


def _ask_holder(
    directory: Path, holder: StoreInUse, keep_versions: int | None, keep_days: float | None, token: str | None
) -> None:
    from runstate.cli.remote import ask

    if holder.url is None:
        owner = "another process" if holder.pid is None else f"process {holder.pid}"
        raise Held(f"data directory {directory} is in use by {owner}, which serves nothing; wait until it has ended")
    done = ask(holder.url, token, lambda server: server.compact(keep_versions=keep_versions, keep_days=keep_days))
    say(f"the server at {holder.url}, which holds {directory}, compacted it beside its traffic")
    _say_removed(directory, done["versions"], done["commits"], done["floor"], done["damaged"])


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
    _say_removed(directory, versions, commits, floor, damaged)


def _say_removed(directory: Path, versions: int, commits: int, floor: int, damaged: int) -> None:
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
    after = size(room.after_bytes)
    if room.after_bytes < room.before_bytes:
        say(f"freed {size(room.before_bytes - room.after_bytes)}: the store went to {after}")
    else:
        unused = size(room.unused_bytes)
        say(f"the store stays at {after}, {unused} of which later commits will use; less is not worth rewriting it")
