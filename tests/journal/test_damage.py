"""Damage is found when the store is opened or the version is read, and named: document, version, revision, way out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runstate.core.canonical import digest
from runstate.core.commit import Key
from runstate.core.errors import StoreDamaged, StoreError
from runstate.journal.sqlite import STORE_NAME
from runstate.ports import RunsFilter
from runstate.testing.commits import make_pipeline, make_run
from tests.journal.worlds import edit, fill, open_store

RUN = Key("run", "r1")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the directory of a closed store with a run of 70 versions, and a finished one of 3."""
    journal, opened = open_store(tmp_path)
    author = fill(journal, opened, versions=70)
    journal.append([author.commit(make_run("over", state)) for state in ("starting", "running_translator", "success")])
    journal.close()
    return tmp_path


@pytest.mark.parametrize(
    ("sql", "parameters", "what"),
    [
        ("UPDATE heads SET encoded = replace(encoded, '70', '71') WHERE id = 'r1'", (),
         r"run r1 version 70 \(revision 70\) in .*journal.db does not verify: its bytes do not have the recorded digest; restore"),
        ("UPDATE versions SET patch = replace(patch, '70', '71') WHERE version = 70", (),
         r"run r1 version 70 \(revision 70\) .* recorded digest"),
        ("UPDATE versions SET patch = '[]' WHERE version = 70", (), r"run r1 version 70 \(revision 70\) .* recorded digest"),
        ("UPDATE versions SET patch = '[' WHERE version = 66", (), r"run r1 version 70 \(revision 70\) .* patches do not fit"),
        ("UPDATE versions SET patch = NULL WHERE version = 66", (), r"run r1 version 70 \(revision 70\) .* patches do not fit"),
        ("UPDATE versions SET full = '{}' WHERE version = 64", (), r"run r1 version 70 \(revision 70\) .* (digest|fit)"),
        ("DELETE FROM versions WHERE version = 67", (), r"run r1 version 70 .* a version it is made from is missing"),
        ("DELETE FROM versions WHERE version = 70", (), r"run r1 version 70 .* a version it is made from is missing"),
        ("UPDATE heads SET encoded = ?, digest = ? WHERE id = 'r1'", (b"{}", digest(b"{}")), r"run r1 version 70 .* not a run document"),
        ("DELETE FROM heads WHERE id = 'r1'", (), r"pipeline market version 1 .* its current run r1 is missing"),
        ("DELETE FROM commits WHERE revision = 40", (), r"has lost commits: it holds 72 of the 73 commits after revision 0"),
        ("UPDATE meta SET value = '80' WHERE key = 'verified'", (), r"it ends at revision 73 but held 80"),
        ("DELETE FROM meta WHERE key = 'epoch'", (), r"does not say its format and epoch"),
    ],
)  # fmt: skip
def test_a_damaged_store_is_refused_and_left_alone(store, sql, parameters, what):
    """A store that does not verify is not opened; the sentence says what is wrong, and the file stays as it was."""
    edit(store, sql, *parameters)
    before = (store / STORE_NAME).read_bytes()

    with pytest.raises(StoreDamaged, match=what):
        open_store(store)
    assert (store / STORE_NAME).read_bytes() == before


def test_a_forged_head_is_found_by_its_history(store):
    """A head whose own digest is right, but which its versions do not lead to, is damage as well."""
    journal, _ = open_store(store)
    forged = journal.version(RUN, 69)
    journal.close()
    edit(store, "UPDATE heads SET encoded = ?, digest = ? WHERE id = 'r1'", forged.encoded, forged.digest)

    with pytest.raises(StoreDamaged, match=r"run r1 version 70 .* its bytes are r1 version 69"):
        open_store(store)


def test_an_old_version_is_verified_when_it_is_read(store):
    """Damage in a run that is over does not keep the server from starting; reading it says what is wrong."""
    edit(store, "UPDATE versions SET patch = '[]' WHERE id = 'over' AND version = 2")

    journal, _ = open_store(store)

    for read in (lambda: journal.version(Key("run", "over"), 2), lambda: journal.commits_after(70)):
        with pytest.raises(StoreDamaged, match=r"run over version 2 \(revision 72\) .* recorded digest"):
            read()
    assert journal.head(Key("run", "over")).run.state == "success"


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> tuple[bytes, dict[tuple[Key, int], bytes]]:
    """Return a store as bytes, and what each version must be."""
    directory = tmp_path_factory.mktemp("sound")
    journal, opened = open_store(directory)
    author = fill(journal, opened, versions=67)
    journal.append([author.commit(make_pipeline())])
    journal.close()
    versions = {
        (change.document.key, change.document.version): change.document.encoded
        for commit in author.commits
        for change in commit.changes
    }
    return (directory / STORE_NAME).read_bytes(), versions


@given(data=st.data())
def test_no_flipped_byte_shows_a_wrong_document(sound, data):
    """Flip any byte of the file: what is read is right, or the error is ours."""
    store, versions = sound
    at = data.draw(st.integers(0, len(store) - 1), "at")
    flipped = bytearray(store)
    flipped[at] ^= data.draw(st.integers(1, 255), "by")

    with tempfile.TemporaryDirectory() as name:
        (Path(name) / STORE_NAME).write_bytes(flipped)
        try:
            journal, opened = open_store(Path(name))
        except StoreError:
            return
        seen = list(opened.documents)
        for read in (
            lambda: journal.runs(RunsFilter()).documents,
            lambda: [found for version in (1, 2, 63, 64, 67) if (found := journal.version(RUN, version)) is not None],
            lambda: [found for key in (RUN, Key("pipeline", "market")) if (found := journal.head(key)) is not None],
            lambda: [change.document for commit in journal.commits_after(0, None) for change in commit.changes],
            lambda: (journal.history(RUN, after=0, limit=100), [])[1],
        ):
            try:
                seen += read()
            except StoreError:
                pass
        journal.close()
    for document in seen:
        assert document.encoded == versions[document.key, document.version]
