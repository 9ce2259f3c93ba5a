"""Whatever a crash leaves of the log: the store opens with whole batches only, and with each one that was whole."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.commit import Commit
from runstate.journal.sqlite import STORE_NAME
from runstate.testing.commits import Author, make_pipeline, make_progress_run, make_run
from runstate.testing.spelling import spell
from tests.journal.worlds import open_store

BATCHES = 17

pytestmark = pytest.mark.rule("V5")


@dataclass
class Recorded:
    """A store as files, and how long its log was when each batch had become durable."""

    store: bytes
    log: bytes
    durable: list[tuple[int, int]]  # (length of the log, revision)
    commits: list[Commit]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    directory = tmp_path_factory.mktemp("recorded")
    journal, opened = open_store(directory)
    author = Author(opened.epoch)
    log = journal.path.with_name(STORE_NAME + "-wal")
    durable = [(log.stat().st_size, 0)]
    batches = [[author.commit(make_pipeline(), make_run("r1"))]]
    batches += [
        [author.commit(make_progress_run("r1", done), make_run(f"s{done}-{n}")) for n in range(1 + done % 4)]
        for done in range(BATCHES - 1)
    ]
    for batch in batches:
        journal.append(batch)
        durable.append((log.stat().st_size, batch[-1].position.revision))
    found = Recorded(journal.path.read_bytes(), log.read_bytes(), durable, author.commits)
    journal.close()
    return found


CUTS = st.integers(0, 2**20) | st.integers(-BATCHES - 1, -1)
GARBAGE = st.binary(max_size=64) | st.integers(1, 9000).map(lambda n: b"\xa5" * n)


@given(cut=CUTS, garbage=GARBAGE, within=st.booleans())
def test_a_torn_log_opens_as_whole_batches(recorded: Recorded, cut: int, garbage: bytes, within: bool):
    """Cut the log anywhere, or let garbage stand in it: every batch before the damage is there, and nothing of any other."""
    # A negative number is the end of a batch, counted from the last.
    at = recorded.durable[cut][0] if cut < 0 else cut % (len(recorded.log) + 1)
    log = recorded.log[:at] + garbage
    if within:
        log += recorded.log[len(log) :]
    sound = next((at for at, (new, old) in enumerate(zip(log, recorded.log, strict=False)) if new != old), len(log))
    expected = max((revision for size, revision in recorded.durable if size <= sound), default=0)

    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / STORE_NAME).write_bytes(recorded.store)
        (Path(directory) / (STORE_NAME + "-wal")).write_bytes(log)
        journal, opened = open_store(Path(directory), create=False)
        found = spell(journal.commits_after(0, None))
        journal.close()

    assert opened.revision == expected
    assert found == spell(recorded.commits[:expected])
