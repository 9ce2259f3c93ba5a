"""`journal`: the store of a data directory, offline and beside a server."""

from __future__ import annotations

import json

import pytest

from tests.cli.terminal import Server, assert_refused, runstate
from tests.journal.worlds import edit

COMMANDS = ["check", "export", "backup", "compact"]


@pytest.fixture
def kept(home):
    """A folder whose .runstate holds a finished run, and that run's document."""
    done = runstate("run", "pipelines.py:quick", "--json", cwd=home)
    assert done.returncode == 0, done.stderr
    return home, json.loads(done.stdout)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(tmp_path, command):
    done = runstate("journal", command, "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert f"Example: runstate journal {command}" in done.stdout
    assert len(done.stdout.split("Options:")[0]) > 250, "a paragraph that explains"


def test_the_whole_store_is_looked_at_offline(kept):
    """check, export, backup and compact on a directory that nobody holds."""
    home, document = kept
    run_id = document["run_id"]

    checked = runstate("journal", "check", ".runstate", cwd=home)
    assert checked.returncode == 0, checked.stdout
    assert "documents  2  (1 runs, 1 pipelines)" in checked.stdout
    assert checked.stdout.splitlines()[-1] == "✔ everything verifies"
    facts = json.loads(runstate("journal", "check", ".runstate", "--json", cwd=home).stdout)
    assert (facts["ok"], facts["floor"], facts["findings"]) == (True, 0, [])
    assert facts["documents"] == {"pipelines": 1, "runs": 1}

    every = runstate("journal", "export", ".runstate", cwd=home)
    commits = lines(every.stdout)
    assert [int(c["position"].split(".")[1]) for c in commits] == list(range(1, facts["revision"] + 1))
    assert all(c["complete"] for c in commits)
    assert sum(len(c["changes"]) for c in commits) == facts["versions"]
    filed = runstate("journal", "export", ".runstate", "--run", run_id, "-o", "run.jsonl", cwd=home)
    assert (filed.returncode, filed.stdout) == (0, "")
    changes = [change for c in lines((home / "run.jsonl").read_text()) for change in c["changes"]]
    assert [change["version"] for change in changes] == list(range(1, document["version"] + 1))
    assert {change["id"] for change in changes} == {run_id}
    assert changes[-1]["document"] == document
    assert (changes[0]["old_state"], changes[-1]["new_state"]) == ("idle", "success")
    assert not (home / "run.jsonl.part").exists()

    backed = runstate("journal", "backup", ".runstate", "copy", cwd=home)
    assert backed.returncode == 0, backed.stderr
    assert f"every commit up to revision {facts['revision']}" in backed.stdout

    thinned = runstate("journal", "compact", ".runstate", "--keep-versions", "2", cwd=home)
    assert thinned.returncode == 0, thinned.stderr
    assert f"removed {facts['versions'] - 4} versions" in thinned.stdout
    assert "the store stays at " in thinned.stdout
    after = json.loads(runstate("journal", "check", ".runstate", "--json", cwd=home).stdout)
    assert (after["ok"], after["versions"], after["revision"]) == (True, 4, facts["revision"])
    left = lines(runstate("journal", "export", ".runstate", "--run", run_id, cwd=home).stdout)
    assert [c["changes"][0] for c in left] == changes[-2:]


def test_damage_ends_with_1_and_its_place(kept):
    home, document = kept
    edit(home / ".runstate", "UPDATE versions SET digest = 'x' WHERE kind = 'run' AND version = 2")

    checked = runstate("journal", "check", ".runstate", cwd=home)
    as_json = runstate("journal", "check", ".runstate", "--json", cwd=home)
    exported = runstate("journal", "export", ".runstate", "-o", "all.jsonl", cwd=home)

    place = f"run {document['run_id']} version 2 "
    assert (checked.returncode, as_json.returncode) == (1, 1)
    assert f"✘ {place}(revision " in checked.stdout
    assert checked.stdout.splitlines()[-1].endswith("; restore a backup")
    finding = json.loads(as_json.stdout)["findings"][0]
    assert (finding["kind"], finding["version"]) == ("run", 2)
    assert finding["problem"] == "its bytes do not have the recorded digest"
    assert_refused(exported, 1, place, "recorded digest")
    assert not (home / "all.jsonl").exists(), "half an export is none"


def test_a_live_store_is_read_and_backed_up_and_restored_under_readers(home):
    """Beside a server: check, export, backup and compact work; the backup serves the same documents."""
    with Server("pipelines.py:quick", cwd=home) as server:
        started = runstate("start", "quick", "--wait", "--json", cwd=home, RUNSTATE_URL=server.url)
        assert started.returncode == 0, started.stderr
        run_id = json.loads(started.stdout.splitlines()[-1])["run_id"]
        checked = runstate("journal", "check", ".runstate", cwd=home)
        exported = runstate("journal", "export", ".runstate", "--run", run_id, cwd=home)
        backed = runstate("journal", "backup", ".runstate", "copy", cwd=home)
        thinned = runstate("journal", "compact", ".runstate", "--keep-versions", "2", cwd=home)
        history = runstate("history", run_id, "--json", cwd=home, RUNSTATE_URL=server.url).stdout
        again = runstate("journal", "backup", ".runstate", "copy", cwd=home)
        shown = runstate("show", run_id, "--json", cwd=home, RUNSTATE_URL=server.url).stdout
        url = server.url
    assert (checked.returncode, backed.returncode) == (0, 0), (checked.stdout, backed.stderr)
    assert lines(exported.stdout)[-1]["changes"][0]["document"] == json.loads(shown)
    assert (thinned.returncode, thinned.stderr) == (0, "")
    assert thinned.stdout.startswith(f"the server at {url}, which holds .runstate, compacted it")
    assert "removed " in thinned.stdout
    assert history.count('"digest"') == 2
    assert_refused(again, 2, "copy/journal.db is there already and is left as it is")

    with Server("pipelines.py:quick", "--data", "copy", cwd=home) as restored:
        same = runstate("show", run_id, "--json", cwd=home, RUNSTATE_URL=restored.url).stdout
        page = json.loads(runstate("runs", "--json", cwd=home, RUNSTATE_URL=restored.url).stdout)
    assert same == shown, "not a byte of a document changes"
    before, after = lines(exported.stdout)[-1]["position"], page["position"]
    assert int(after.split("-")[0]) > int(before.split("-")[0]), "a later epoch"
    assert int(after.split(".")[1]) >= int(before.split(".")[1]), "revisions go on"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["check", "none"], "there is no store in none; name a data directory"),
        (["export", "none"], "there is no store in none"),
        (["backup", "none", "copy"], "there is no store in none"),
        (["compact", "none", "--keep-days", "1"], "there is no store in none"),
        (["compact", "none"], "--keep-versions N, --keep-days D, or both"),
        (["compact", "none", "--keep-versions", "0"], "--keep-versions"),
        (["compact", "none", "--keep-days", "-1"], "--keep-days"),
        (["compact", "none", "--keep-days", "nan"], "--keep-days"),
        (["compact", "none", "--keep-days", "inf"], "--keep-days"),
        (["backup", "none"], "TARGET"),
        (["nope"], "no such command 'nope'"),
    ],
    ids=str,
)
def test_wrong_usage_is_one_sentence(tmp_path, words, said):
    assert_refused(runstate("journal", *words, cwd=tmp_path), 2, said)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_done_is_one_sentence(kept):
    """An unknown run, a place that cannot be written, a file that is no store."""
    home, _ = kept
    (home / "other").mkdir()
    (home / "other" / "journal.db").write_text("mine")

    assert_refused(runstate("journal", "export", ".runstate", "--run", "nope", cwd=home), 2, "there is no run nope")
    assert_refused(
        runstate("journal", "export", ".runstate", "-o", "none/x", cwd=home), 2, "there is no directory none;"
    )
    assert_refused(runstate("journal", "backup", ".runstate", "pipelines.py", cwd=home), 1, "is, or lies in, a file")
    assert_refused(runstate("journal", "check", "other", cwd=home), 1, "other/journal.db is not a SQLite database")
    assert (home / "other" / "journal.db").read_text() == "mine"
