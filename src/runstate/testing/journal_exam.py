"""The exam of the Journal port: every promise, each a sentence, against any implementation.

    from runstate.testing.journal_exam import examine

    def test_my_journal(tmp_path):
        examine(lambda: MyJournal.open(tmp_path / secrets.token_hex(4)))

The factory opens a new, empty store at each call. With pytest, parametrise over `CHECKS` to see each promise by name.
A broken promise is an AssertionError whose text is the promise. Longer than other files because the promises are one list.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from itertools import product

from runstate.core.canonical import FrozenJson, decode, encode
from runstate.core.commit import Commit, Key, Note
from runstate.core.errors import Compacted
from runstate.core.model import MAX_DOCUMENT_BYTES
from runstate.core.patch import apply
from runstate.core.position import epoch_number
from runstate.ports import COMMITS_AT_ONCE, History, Journal, Opened, Retention, RunsFilter
from runstate.testing.commits import TICK_MS, Author, make_pipeline, make_progress_run, make_run
from runstate.testing.spelling import same, same_document, spell, spell_entry, spell_step

OpenNew = Callable[[], tuple[Journal, Opened]]
Check = Callable[[OpenNew], None]

RUN = Key("run", "r1")


def examine(open_new: OpenNew) -> None:
    """Run every check.

    Raises:
        AssertionError: A promise is broken; the text names it.
    """
    for check in CHECKS:
        check(open_new)


def starts_empty(open_new: OpenNew) -> None:
    """A new store has an epoch, revision 0 and nothing else."""
    journal, opened = open_new()
    epoch_number(opened.epoch)
    same((opened.revision, opened.documents, opened.notes), (0, (), ()), "a new store is empty")
    same(list(journal.commits_after(0)), [], "a new store has no commits")
    cut = journal.runs(RunsFilter())
    same((cut.revision, cut.documents, cut.next), (0, (), None), "a new store lists no runs")
    journal.close()


def keeps_order(open_new: OpenNew) -> None:
    """Commits come back whole, in the order of their revisions, from any revision on."""
    journal, author = _begin(open_new)
    journal.append([author.commit(make_pipeline(), make_run("r1"), event="started")])
    journal.append([author.commit(make_progress_run("r1", done), make_progress_run("r2", -done)) for done in range(70)])
    journal.append([author.commit(make_run("r1", "success"), make_pipeline(current_run_id="r1"))])
    journal.append([])
    for revision in (0, 1, 2, 35, 64, 65, 71, 72, 1000):
        same(spell(journal.commits_after(revision)), spell(author.commits[revision:]), f"commits after {revision}")
    journal.close()


def keeps_bytes(open_new: OpenNew) -> None:
    """Every version comes back byte for byte, with its digest, position, time and old state."""
    journal, author = _begin(open_new)
    values = [make_run("r1"), *(make_progress_run("r1", done) for done in range(140)), make_run("r1", "success")]
    commits = [author.commit(value) for value in values]
    # Whole documents and patches meet in batches and between them.
    for start, end in ((0, 1), (1, 63), (63, 64), (64, 65), (65, 128), (128, None)):
        journal.append(commits[start:end])
    for round_ in ("as appended", "after a reopen"):
        for number, commit in enumerate(commits, 1):
            same_document(journal.version(RUN, number), commit.changes[0].document, f"version {number} {round_}")
        same_document(journal.head(RUN), commits[-1].changes[0].document, f"the head {round_}")
        journal.reopen()
    for number in (-1, 0, len(values) + 1, 2**80):
        same(journal.version(RUN, number), None, f"version {number}, which is not there, is None")
    journal.close()


def keeps_odd_values(open_new: OpenNew) -> None:
    """Floats, keys that are not ASCII, text of every plane and the largest documents come back byte for byte."""
    journal, author = _begin(open_new)
    odd: list[dict[str, object]] = [
        {"x": 0.1, "large": 1e21, "small": 5e-324, "whole": 3.0},
        {
            "ключ": "値",
            "😀": "\u2028",
            "\ue000": "after the surrogates in code points, before them in UTF-16",
            "": [[], {}],
        },
        {"x": None, "~/": {"/~": [True, 1, "1", 0, False]}},
        {"x": "\x00\x1f\x7f"},
        {"fill": "x" * (MAX_DOCUMENT_BYTES - 2_000)},
        {"fill": "y" * (MAX_DOCUMENT_BYTES - 2_000)},
        {},
    ]
    for index, metadata in enumerate(odd):
        journal.append([author.commit(make_progress_run("r1", index + 0.5, metadata=FrozenJson(metadata)))])
    for number, commit in enumerate(author.commits, 1):
        same_document(journal.version(RUN, number), commit.changes[0].document, f"odd version {number}")
    same(spell(journal.commits_after(3)), spell(author.commits[3:]), "commits with odd values")
    journal.close()


def shows_history(open_new: OpenNew) -> None:
    """A page of history has each version's position, time, cause, states, digest and patch, in order."""
    journal, author = _begin(open_new)
    commits = [author.commit(make_run("r1"), event="started")]
    commits += [author.commit(make_progress_run("r1", done), event="progressed") for done in range(129)]
    commits += [author.commit(make_run("r1", "failed"), event="failed")]
    journal.append(commits)
    for after, limit in ((-5, 3), (0, 1), (0, 1000), (60, 10), (130, 5), (131, 5), (10**30, 5), (3, 0)):
        page = _found(journal.history(RUN, after=after, limit=limit))
        same((page.floor, page.head), (1, len(commits)), "a history says its floor and head")
        wanted = commits[max(after, 0) :][:limit]
        same([spell_entry(entry) for entry in page.entries], [spell_step(c) for c in wanted], f"after {after}")
    entries = _found(journal.history(RUN, after=0, limit=1000)).entries
    state = decode(commits[0].changes[0].document.encoded)
    for entry, commit in zip(entries[1:], commits[1:], strict=True):
        state = apply(state, decode(entry.patch or b""))
        same(encode(state), commit.changes[0].document.encoded, f"the patches up to version {entry.version}")
    journal.append([author.commit(make_pipeline())])
    pipeline = _found(journal.history(Key("pipeline", "market"), after=0, limit=9)).entries
    same([(e.version, e.old_state, e.new_state, e.patch) for e in pipeline], [(1, "", "", None)], "a pipeline's states")
    journal.close()


def knows_nothing_of_the_unknown(open_new: OpenNew) -> None:
    """What is not there is None, whatever its name, and no filter finds it."""
    journal, author = _begin(open_new)
    journal.append([author.commit(make_pipeline(), make_run("r1"))])
    texts = ("", "R1", "r1\0", "%", "x" * 10_000, "\ud800")
    for key in (Key("pipeline", "r1"), Key("run", "market"), *(Key("run", text) for text in texts)):
        found = journal.head(key), journal.version(key, 1), journal.history(key, after=0, limit=10)
        same(found, (None, None, None), f"{key!r} is unknown")
    for text in texts:
        for wanted in (RunsFilter(pipeline=text), RunsFilter(state=text), RunsFilter(status=text)):
            same(journal.runs(wanted).documents, (), f"{wanted!r} finds nothing")
    journal.close()


def filters_and_pages(open_new: OpenNew) -> None:
    """A list shows exactly the runs that match, newest first by creation, and its pages leave none out or double one."""
    journal, author = _begin(open_new)
    states = ("scheduled", "starting", "running_translator", "retrying", "success", "failed", "stopped", "idle")
    for number in range(24):
        name = f"p{number % 3}"
        journal.append([
            author.commit(make_pipeline(name), make_run(f"r{99 - number}", pipeline=name)),
            author.commit(make_run(f"r{99 - number}", states[number % 7 if number else 7], pipeline=name)),
        ])  # fmt: skip
    journal.append([author.commit(make_run("twin-a", pipeline="p0"), make_run("twin-b", pipeline="p0"))])
    journal.append([author.commit(make_run("r99", "idle", pipeline="p0"))])  # a change makes no run newer
    created = {
        c.document.key: commit.position.revision for commit in author.commits for c in commit.changes if c.patch is None
    }
    newest = [document for key, document in reversed(author.heads.items()) if key.kind == "run"]
    pipelines, statuses = (None, "p0", "p1", "none"), (None, "idle", "running", "error", "stopped")
    for pipeline, status, state, before in product(pipelines, statuses, (None, *states), (None, 0, 20, 10**30)):
        wanted = RunsFilter(pipeline, status, state, before)
        expected = [
            document.key.id
            for document in newest
            if pipeline in (None, document.run.pipeline) and status in (None, document.run.status)
            and state in (None, document.run.state) and (before is None or created[document.key] < before)
        ]  # fmt: skip
        same([d.key.id for d in journal.runs(wanted).documents], expected, f"{wanted} lists")
    for status, limit in product((None, "running", "error"), (1, 2, 3, 100)):
        paged: list[str] = []
        before = None
        while True:
            cut = journal.runs(RunsFilter(status=status, before=before, limit=limit))
            same(cut.revision, author.revision, "a list says up to where it has seen")
            paged += [document.key.id for document in cut.documents]
            if (before := cut.next) is None:
                break
            assert cut.documents, "a page that has a next one is not empty"
        expected = [document.key.id for document in newest if status in (None, document.run.status)]
        same(paged, expected, f"pages of {limit} with status {status}")
    for document in journal.runs(RunsFilter()).documents:
        same_document(document, author.heads[document.key], "a list shows heads")
    journal.close()


def keeps_notes(open_new: OpenNew) -> None:
    """Notes are put, replaced and removed with their batch, in order, and come back when the store is opened."""
    journal, author = _begin(open_new)
    put, other = Note("ledger", "r1", b"1"), Note("key", "r1", b"\x00\xff")
    journal.append([author.commit(make_run("r1"), notes=(put, other))], [Note("ledger", "r2", b"2")])
    same(_notes(journal), {("ledger", "r1"): b"1", ("key", "r1"): b"\x00\xff", ("ledger", "r2"): b"2"}, "notes are put")
    journal.append([
        author.commit(make_run("r1", "running_translator"), notes=(Note("ledger", "r1", b"3"), Note("ledger", "r2", None))),
        author.commit(make_run("r1", "success"), notes=(Note("ledger", "r1", None), Note("ledger", "r2", b""))),
    ])  # fmt: skip
    same(_notes(journal), {("key", "r1"): b"\x00\xff", ("ledger", "r2"): b""}, "the last note of a batch counts")
    journal.append([], [Note("key", "r1", b"new"), Note("ledger", "none", None)])
    same(_notes(journal), {("key", "r1"): b"new", ("ledger", "r2"): b""}, "notes may go without a commit")
    same(journal.reopen().revision, 3, "notes alone are no commit")
    assert all(commit.notes == () for commit in journal.commits_after(0)), "commits come back without their notes"
    journal.close()


def reopens_with_all_that_matters(open_new: OpenNew) -> None:
    """Reopening returns the same epoch, the head, every pipeline, each current run and each run that is not over."""
    journal, author = _begin(open_new)
    journal.append([
        author.commit(make_pipeline("p"), make_pipeline("q"), make_pipeline("idle")),
        author.commit(make_pipeline("p", current_run_id="done"), make_run("old", pipeline="p"), make_run("done", pipeline="p")),
        author.commit(make_run("old", "failed", pipeline="p"), make_run("done", "success", pipeline="p")),
        author.commit(make_run("live", pipeline="p"), make_run("waits", "scheduled", pipeline="q")),
        author.commit(make_run("stopped", "stopped", pipeline="q"), make_run("live", "retrying", pipeline="p"),
                      make_run("cancelled", "idle", pipeline="q")),
    ])  # fmt: skip
    for _ in range(2):
        opened = journal.reopen()
        same((opened.epoch, opened.revision), (author.epoch, 5), "a reopen keeps the epoch and the head")
        found = {document.key: document for document in opened.documents}
        same(len(found), len(opened.documents), "each document is returned once")
        same(
            sorted(found),
            sorted(
                [*(Key("pipeline", n) for n in ("p", "q", "idle")), *(Key("run", n) for n in ("done", "live", "waits"))]
            ),
            "a reopen returns what is needed to go on",
        )
        for key, document in found.items():
            same_document(document, author.heads[key], f"{key} after a reopen")
    journal.append([author.commit(make_run("live", "failed", pipeline="p"))])
    same_document(journal.head(Key("run", "live")), author.heads[Key("run", "live")], "appends go on after a reopen")
    journal.close()


def reads_while_it_appends(open_new: OpenNew) -> None:
    """Readers in other threads see whole batches only, and never go back."""
    journal, author = _begin(open_new)
    journal.append([author.commit(make_pipeline(), make_run("r1"), make_run("r2"))])
    batches = [
        [author.commit(make_progress_run("r1", 2 * n), make_progress_run("r2", 2 * n)),
         author.commit(make_progress_run("r2", 2 * n + 1), make_progress_run("r1", 2 * n + 1))]
        for n in range(40)
    ]  # fmt: skip
    wrong: list[str] = []
    done = threading.Event()

    def read() -> None:
        seen = 1
        while not done.is_set():
            cut = journal.runs(RunsFilter())
            versions = {document.version for document in cut.documents}
            if versions != {cut.revision} or cut.revision % 2 == 0 or cut.revision < seen:
                wrong.append(f"a list at revision {cut.revision} (after {seen}) shows versions {versions}")
                return
            seen = cut.revision
            later = list(journal.commits_after(seen))
            document, page = journal.head(RUN), journal.history(RUN, after=seen - 1, limit=5)
            if document is None or document.version < seen or page is None or page.head < seen or len(later) % 2:
                wrong.append(f"a read after revision {seen} went back")
                return

    def watched() -> None:
        try:
            read()
        except BaseException as exc:
            wrong.append(repr(exc))

    readers = [threading.Thread(target=watched) for _ in range(3)]
    for reader in readers:
        reader.start()
    for batch in batches:
        journal.append(batch)
    done.set()
    for reader in readers:
        reader.join()
    same(wrong, [], "reads while it appends see whole batches")
    journal.close()


def reads_commits_in_pages(open_new: OpenNew) -> None:
    """A reader that catches up gets as many commits as it asks for, in order, and by default not all."""
    journal, author = _begin(open_new)
    journal.append([author.commit(make_progress_run("r1", done)) for done in range(COMMITS_AT_ONCE + 5)])
    for revision, limit in ((0, 1), (7, 3), (COMMITS_AT_ONCE, 99), (0, 0), (10**6, 5)):
        expected = spell(author.commits[revision : revision + limit])
        same(spell(journal.commits_after(revision, limit)), expected, f"{limit} commits after {revision}")
    same(spell(journal.commits_after(0)), spell(author.commits[:COMMITS_AT_ONCE]), "commits without a limit")
    same(spell(journal.commits_after(-1, None)), spell(author.commits), "all commits")
    journal.close()


def compacts_what_is_given_up(open_new: OpenNew) -> None:
    """Exactly what the retention gives up goes, the head always stays, and a second pass finds nothing."""
    cases = [(None, None, 9), (1, None, 50), (2, None, 1000), (65, None, 9), (None, 0, 50), (None, 100, 9)]
    for keep, age, limit in (*cases, (None, 10**6, 1000), (65, 100, 1000), (20, 100, 50)):
        journal, author = _begin(open_new)
        journal.append([author.commit(make_pipeline(), make_run("r1"), make_run("r2"))])
        journal.append([author.commit(make_progress_run("r1", done)) for done in range(130)])
        journal.append(
            [author.commit(make_run("r2", "success"), make_run("r1", "failed")), author.commit(make_run("r3"))]
        )
        before_ms = None if age is None else author.commits[0].at_ms + age * TICK_MS
        retention = Retention(keep, before_ms)
        floors = {}
        for key, steps in _steps(author).items():
            young = [v for v, commit in steps.items() if before_ms is None or commit.at_ms >= before_ms]
            floors[key] = max(min([*young, len(steps)]), len(steps) - (keep or len(steps)) + 1)
        gone = compact_wholly(journal, retention, limit=limit)
        same(gone, sum(floor - 1 for floor in floors.values()), f"{retention} removes so many versions")
        same(same_as_written(journal, author), floors, f"{retention} leaves the floors")
        journal.reopen()
        same(compact_wholly(journal, retention, limit=limit), 0, "a second pass removes nothing")
        same(same_as_written(journal, author), floors, "a reopen and a second pass change nothing")
        journal.close()


def compacts_in_turns(open_new: OpenNew) -> None:
    """Between any two turns of compaction all is in order, appends go on, and no turn removes more than it may."""
    journal, author = _begin(open_new)
    journal.append([author.commit(make_pipeline(), make_progress_run("r1", -1), make_progress_run("r2", -1))])
    journal.append([author.commit(make_progress_run(f"r{1 + done % 2}", done)) for done in range(150)])
    following: int | None = 0
    turns = 0
    while following is not None:
        turn = journal.compact(Retention(keep_versions=5), after=following, limit=9)
        assert turn.versions <= 9, "a turn removes no more than its limit"
        following, turns = turn.next, turns + 1
        same(turn.floor, _log_floor(author, same_as_written(journal, author)), "a turn tells the floor of the log")
        if turns % 3 == 0:
            journal.append([author.commit(make_progress_run("r1", turns), make_run(f"new-{turns}"))])
            same_as_written(journal, author)
    assert turns > 10, "a pass takes many turns"
    compact_wholly(journal, Retention(keep_versions=1), limit=1000)
    floors = same_as_written(journal, author)
    same(floors, {key: document.version for key, document in author.heads.items()}, "only heads are left")
    journal.append([author.commit(make_progress_run("r1", -2), make_run("r2", "success"))])
    same_as_written(journal, author)
    opened = journal.reopen()
    same(opened.revision, author.revision, "compaction takes no revision")
    journal.close()


def probes_without_a_trace(open_new: OpenNew) -> None:
    """A probe that returns leaves documents, notes and revision as they were."""
    journal, author = _begin(open_new)
    journal.probe()
    journal.append([author.commit(make_run("r1"), notes=(Note("ledger", "r1", b"1"),))])
    journal.probe()
    journal.probe()
    opened = journal.reopen()
    same((opened.revision, opened.notes), (1, (Note("ledger", "r1", b"1"),)), "a probe leaves no trace")
    same(spell(journal.commits_after(0)), spell(author.commits), "a probe is no commit")
    journal.close()


def closes_twice(open_new: OpenNew) -> None:
    """Closing is safe twice, and before anything was done."""
    journal, author = _begin(open_new)
    journal.append([author.commit(make_run("r1"))])
    journal.close()
    journal.close()
    untouched, _ = open_new()
    untouched.close()


CHECKS: tuple[Check, ...] = (
    starts_empty,
    keeps_order,
    keeps_bytes,
    keeps_odd_values,
    shows_history,
    knows_nothing_of_the_unknown,
    filters_and_pages,
    keeps_notes,
    reopens_with_all_that_matters,
    reads_while_it_appends,
    reads_commits_in_pages,
    compacts_what_is_given_up,
    compacts_in_turns,
    probes_without_a_trace,
    closes_twice,
)


def _begin(open_new: OpenNew) -> tuple[Journal, Author]:
    journal, opened = open_new()
    return journal, Author(opened.epoch)


def _found(history: History | None) -> History:
    assert history is not None, "a document has a history"
    return history


def _notes(journal: Journal) -> dict[tuple[str, str], bytes | None]:
    return {(note.kind, note.id): note.value for note in journal.reopen().notes}


def compact_wholly(journal: Journal, retention: Retention, *, limit: int) -> int:
    """Do one pass of compaction and return how many versions it removed."""
    removed = 0
    following: int | None = 0
    while following is not None:
        turn = journal.compact(retention, after=following, limit=limit)
        removed, following = removed + turn.versions, turn.next
    return removed


def same_as_written(journal: Journal, author: Author) -> dict[Key, int]:
    """Check that all that a journal keeps is as its author wrote it, and return the floor of each document.

    Raises:
        AssertionError: A version at or above its floor is missing or other than it was, or one below is not refused.
    """
    floors = {}
    for key, steps in _steps(author).items():
        page = _found(journal.history(key, after=0, limit=10**6))
        floors[key] = page.floor
        same(page.head, len(steps), f"the head of {key}")
        same(
            [entry.version for entry in page.entries], list(range(page.floor, len(steps) + 1)), f"the history of {key}"
        )
        changes = {v: next(c for c in commit.changes if c.document.key == key) for v, commit in steps.items()}
        for entry in page.entries:
            document, patch = changes[entry.version].document, changes[entry.version].patch
            same_document(journal.version(key, entry.version), document, f"version {entry.version} of {key}")
            seen = (entry.commit_position, entry.cause, entry.digest, entry.patch)
            cause = steps[entry.version].cause.encoded
            same(seen, (str(document.position), cause, document.digest, patch), f"history of {key} at {entry.version}")
        for below in {1, page.floor - 1} - {0} if page.floor > 1 else ():
            _refused(partial(journal.version, key, below), f"version {below} of {key}")
        same_document(journal.head(key), author.heads[key], f"the head of {key}")
    floor = _log_floor(author, floors)
    same(spell(journal.commits_after(floor, None)), spell(author.commits[floor:]), f"the commits after {floor}")
    if floor:
        _refused(lambda: journal.commits_after(floor - 1), f"the commits after {floor - 1}")
        _refused(lambda: journal.commits_after(0, 1), "the commits after 0")
    return floors


def _refused(read: Callable[[], object], what: str) -> None:
    try:
        read()
    except Compacted:
        return
    raise AssertionError(f"{what} lies below the floor and is refused as compacted: it was not")


def _steps(author: Author) -> dict[Key, dict[int, Commit]]:
    """Return the commit of every version of every document."""
    steps: dict[Key, dict[int, Commit]] = {}
    for commit in author.commits:
        for change in commit.changes:
            steps.setdefault(change.document.key, {})[change.document.version] = commit
    return steps


def _log_floor(author: Author, floors: dict[Key, int]) -> int:
    """Return the latest revision of which a version is gone."""
    steps = _steps(author)
    return max((steps[key][floor - 1].position.revision for key, floor in floors.items() if floor > 1), default=0)
