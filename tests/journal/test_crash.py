"""What a process had reported as durable is there, however it ended."""

from __future__ import annotations

import json

import pytest

from runstate.core.commit import Key
from runstate.ports import RunsFilter
from tests.journal.children import BATCH, ended, start
from tests.journal.worlds import open_store

REPORTS = 25

pytestmark = pytest.mark.rule("V5")


def test_every_reported_commit_survives_kill_9(tmp_path):
    """Kill the writer with SIGKILL again and again: each revision it reported is there, in whole batches, without a hole."""
    for _ in range(3):
        with start("append-for-ever", tmp_path) as child:
            assert child.stdout is not None
            reported = [int(child.stdout.readline()) for _ in range(REPORTS)]
            child.kill()
            reported += [int(line) for line in child.stdout.read().split()]

        journal, opened = open_store(tmp_path)
        commits = journal.commits_after(0, None)

        assert opened.revision in {reported[-1], reported[-1] + BATCH}
        assert [commit.position.revision for commit in commits] == list(range(1, opened.revision + 1))
        assert journal.head(Key("run", "r1")).version == opened.revision
        assert journal.runs(RunsFilter()).revision == opened.revision
        journal.close()


def test_a_full_disk_refuses_and_loses_nothing(tmp_path):
    """When files cannot grow, appends say so and nothing acknowledged is lost; with room again, the same process goes on."""
    found = json.loads(ended(start("append-on-a-full-disk", tmp_path, 120_000)))

    assert found["acknowledged"] <= found["found"] <= found["acknowledged"] + BATCH
    assert found["head"] == found["found"] + 1
    assert len(found["refusals"]) == 1, "until it is reopened with room, everything is refused"
    assert "journal.db refuses: the disk reports an error (SQLITE_IOERR_WRITE)" in found["refusals"][0]
