"""The check of a whole store: what is wrong is found and placed, wherever it is, and the check goes on after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import digest
from runstate.core.commit import Key, Note
from runstate.core.errors import StoreDamaged, StoreError, StoreUnavailable
from runstate.core.model import Ledger, decode_ledger, encode_ledger
from runstate.journal.sqlite import STORE_NAME
from runstate.journal.sqlite_check import check_store
from runstate.ports import Retention
from runstate.testing.commits import make_pipeline, make_run
from runstate.testing.journal_exam import compact_wholly
from tests.journal.children import start
from tests.journal.worlds import copy_store, edit, fill, open_store

DECODERS = {"ledger": decode_ledger}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    """Return a closed store: a run of 70 versions of which 11 to 70 are kept, one that is over with 3, a pipeline with 2."""
    directory = tmp_path_factory.mktemp("sound")
    journal, opened = open_store(directory)
    author = fill(journal, opened, versions=70)
    ledger = Note("ledger", "over", encode_ledger(Ledger()))
    journal.append([author.commit(make_run("over"), notes=(ledger, Note("key", "k", b"\xff")))])
    journal.append([author.commit(make_run("over", state)) for state in ("running_translator", "success")])
    journal.append([author.commit(make_pipeline(current_run_id="over"))])
    assert compact_wholly(journal, Retention(before_ms=author.commits[10].at_ms), limit=7) == 11
    journal.close()
    return directory


@pytest.fixture
def store(sound, tmp_path) -> Path:
    return copy_store(sound, tmp_path / "store")


def check(directory: Path) -> list[str]:
    return [str(finding) for finding in check_store(directory / STORE_NAME, DECODERS).findings]


def test_a_sound_store_is_counted(store):
    """Without a finding the numbers are those of the store; nothing is written."""
    before = (store / STORE_NAME).read_bytes()

    found = check_store(store / STORE_NAME, DECODERS)

    assert found.findings == []
    assert (found.runs, found.pipelines, found.notes) == (2, 1, 2)
    assert (found.versions, found.commits, found.revision, found.floor) == (64, 64, 74, 10)
    assert found.size_bytes == len(before)
    assert (store / STORE_NAME).read_bytes() == before


def r1(version: int, problem: str, *, revision: bool = True) -> str:
    return f"run r1 version {version}{f' (revision {version})' if revision else ''}: {problem}"


DIGEST = "its bytes do not have the recorded digest"


@pytest.mark.parametrize(
    ("sql", "findings"),
    [
        ("UPDATE heads SET encoded = replace(encoded, '70', '71') WHERE id = 'r1'",
         [r1(70, "the head's bytes are not those of its history")]),
        ("UPDATE heads SET state = 'failed' WHERE id = 'r1'", [r1(70, "the head's row says ('market', 'failed', ")]),
        ("UPDATE heads SET at_ms = 5 WHERE id = 'over'", ["run over version 3 (revision 73): the head's row says "]),
        ("UPDATE heads SET number = number + 1 WHERE id = 'over'",
         ["run over version 1 (revision 71): the order of creation does not name its revision"]),
        ("UPDATE versions SET patch = replace(patch, '70', '71') WHERE version = 70", [r1(70, DIGEST)]),
        ("UPDATE versions SET patch = '[' WHERE version = 60 AND id = 'r1'",
         [r1(60, "its patch does not fit ("), r1(61, "it, as every version up to 63, cannot be made without the one before", revision=False)]),
        ("UPDATE versions SET patch = NULL WHERE version = 70",
         [r1(70, "it has no patch from the version before")]),
        ("UPDATE versions SET full = '{}' WHERE version = 64",
         [r1(64, "its patch leads to other bytes than its whole document"),
          r1(65, "it, as every version up to 70, cannot be made without the one before", revision=False)]),
        ("UPDATE versions SET full = NULL WHERE version = 11 AND id = 'r1'",
         [r1(11, "it is the oldest and not whole"),
          r1(12, "it, as every version up to 63, cannot be made without the one before", revision=False)]),
        ("UPDATE versions SET digest = 'sha-256:0' WHERE version = 20 AND id = 'r1'",
         [r1(20, DIGEST), r1(21, "it, as every version up to 63, cannot be made", revision=False)]),
        ("UPDATE versions SET old_state = 'idle' WHERE version = 30 AND id = 'r1'",
         [r1(30, "it says it went from 'idle' to 'running_translator', but went from 'running_translator' to ")]),
        ("UPDATE versions SET new_state = 'idle' WHERE version = 2 AND id = 'over'",
         ["run over version 2 (revision 72): it says it went from 'starting' to 'idle', but "]),
        ("DELETE FROM versions WHERE version = 67", [r1(67, "it is missing", revision=False),
         r1(68, "it, as every version up to 70, cannot be made", revision=False)]),
        ("DELETE FROM versions WHERE version >= 68", [r1(68, "it is missing, as is every version up to 70", revision=False)]),
        ("DELETE FROM commits WHERE revision IN (40, 41)", ["revision 40: revisions 40 to 41 are missing",
         r1(40, "its commit is missing"), r1(41, "its commit is missing"),
         r1(42, "it, as every version up to 63, cannot be made", revision=False)]),
        ("DELETE FROM commits WHERE revision = 74", ["revision 74: revision 74 is missing",
         "pipeline market version 2 (revision 74): its commit is missing"]),
        ("UPDATE commits SET cause = '{' WHERE revision = 12", ["revision 12: its epoch or cause cannot be read ("]),
        ("UPDATE commits SET epoch = '1-00000000' WHERE revision = 73",
         ["revision 73: its epoch 1-00000000 is earlier than that of the commit before",
          "run over version 3 (revision 73): its epoch is not that of its commit, 1-00000000", "run over version 3"]),
        ("UPDATE meta SET value = '1-00000000' WHERE key = 'epoch'",
         ["store: its epoch 1-00000000 is earlier than that of its last commit"]),
        ("UPDATE heads SET floor = 12 WHERE id = 'r1'",
         [r1(11, "it is kept though the floor is 12"), r1(12, "it is the oldest and not whole"), r1(13, "it, as every", revision=False)]),
        ("DELETE FROM heads WHERE id = 'over'", ["pipeline market version 2: its current run over is missing",
         "run over: its head is missing, though versions 1 to 3 are there"]),
        ("UPDATE notes SET value = '{' WHERE kind = 'ledger'", ["note over: its ledger cannot be read ("]),
    ],
)  # fmt: skip
def test_damage_is_found_and_placed(store, sql, findings):
    """Each finding says which document, version and revision it is about, and nothing sound is accused."""
    edit(store, sql)
    edit(store, "UPDATE meta SET value = 74 WHERE key = 'verified'")

    found = check(store)

    assert [text[: len(start)] for text, start in zip(found, findings, strict=False)] == findings
    assert len(found) == len(findings), found


def test_several_places_are_all_found(store):
    """One finding does not hide the next."""
    edit(store, "UPDATE versions SET patch = '[]' WHERE id = 'over'")
    edit(store, "UPDATE versions SET digest = '' WHERE id = 'r1' AND version = 64")
    edit(store, "DELETE FROM commits WHERE revision = 50")

    places = {(f.kind, f.id, f.version) for f in check_store(store / STORE_NAME, DECODERS).findings}

    assert {(None, None, None), ("run", "r1", 50), ("run", "r1", 64), ("run", "over", 2)} <= places


def test_a_forged_head_and_version_are_found_by_the_chain(store):
    """Bytes with a right digest that the patches do not lead to are damage as well."""
    journal, _ = open_store(store)
    other = journal.version(Key("run", "r1"), 65).encoded
    journal.close()
    sql = "UPDATE {} SET {} = ?, digest = ? WHERE id = 'r1' AND version = 70"
    edit(store, sql.format("heads", "encoded"), other, digest(other))
    edit(store, sql.format("versions", "full"), other, digest(other))

    assert check(store) == [r1(70, "its patch leads to other bytes than its whole document")]


def test_a_store_is_checked_while_a_process_writes_to_it(tmp_path):
    """The check of a live store sees one moment of it, and disturbs nobody."""
    open_store(tmp_path)[0].close()
    with start("compact-for-ever", tmp_path) as child:
        assert child.stdout is not None
        checks = [check_store(tmp_path / STORE_NAME, DECODERS) for _ in range(5) if child.stdout.readline()]
        child.kill()

    assert [checked.findings for checked in checks] == [[]] * 5
    assert [checked.revision // 80 >= turns for turns, checked in enumerate(checks, 1)] == [True] * 5


@pytest.mark.parametrize("content", [None, b"", b"not a database " * 100])
def test_what_is_no_store_is_said(tmp_path, content):
    """There is nothing to check where there is no store."""
    if content is not None:
        (tmp_path / STORE_NAME).write_bytes(content)

    with pytest.raises((StoreDamaged, StoreUnavailable), match=r"does not exist|is not a"):
        check(tmp_path)


@given(data=st.data())
def test_a_flipped_byte_that_matters_is_found(sound, data):
    """Flip any byte of the file: either the check finds something, or every document reads as before."""
    store = (sound / STORE_NAME).read_bytes()
    at = data.draw(st.integers(0, len(store) - 1), "at")
    flipped = bytearray(store)
    flipped[at] ^= data.draw(st.integers(1, 255), "by")

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / STORE_NAME).write_bytes(flipped)
        try:
            if check(Path(name)):
                return
            journal, _ = open_store(Path(name))
        except StoreError:
            return
        for version in (11, 40, 63, 64, 70):
            assert journal.version(Key("run", "r1"), version).version == version
        assert journal.head(Key("run", "over")).run.state == "success"
        assert len(journal.commits_after(10)) == 64
        journal.close()
