"""kill -9 at every write to the journal, and at any time: the run goes on, and nothing that was done is done again.

A handful of points by default; `make sweep` takes each write point once, and 200 random times.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from runstate.core.commit import Key
from runstate.core.model import decode_ledger
from runstate.core.patch import apply
from runstate.engine import SystemClock
from runstate.journal.sqlite import STORE_NAME, SqliteJournal
from runstate.journal.sqlite_check import check_store
from runstate.state.notes import LEDGER

ROOT = Path(__file__).parents[2]
WHOLE = os.environ.get("RUNSTATE_SWEEP") == "1"
RANDOM_TIMES = 200 if WHOLE else 1
PATIENCE_S = 60
MOST_WRITES = 60


def begin(directory: Path, *order: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.sweep.victim", str(directory), *map(str, order)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def end(victim: subprocess.Popen[str]) -> bool:
    """Wait for a victim's end; return whether it was killed."""
    victim.communicate(timeout=PATIENCE_S)
    assert victim.returncode in (0, -9), victim.returncode
    return victim.returncode == -9


def judge(directory: Path) -> dict:
    """Start again, let the run end, and check all that is promised; return the run's last document."""
    out, _ = (victim := begin(directory)).communicate(timeout=PATIENCE_S)
    assert victim.returncode == 0
    over = json.loads(out.splitlines()[-1])
    assert over["state"] == "success" or (over["state"], over["error_code"]) == ("failed", "interrupted"), over
    assert check_store(directory / STORE_NAME, {LEDGER: decode_ledger}).findings == []
    journal, _ = SqliteJournal.open(directory, clock=SystemClock())
    try:
        key = Key("run", over["run_id"])
        page = journal.history(key, after=0, limit=1000)
        assert page is not None and page.floor == 1
        assert [entry.version for entry in page.entries] == list(range(1, over["version"] + 1)), "history has a hole"
        succeeded: dict[str, int] = {}
        document = None
        for entry in page.entries:
            kept = journal.version(key, entry.version)
            assert kept is not None and kept.digest == entry.digest
            new = json.loads(kept.encoded)
            assert document is None or apply(document, json.loads(entry.patch)) == new
            document = new
            for name, stage in new["stages"].items():
                if name in succeeded:
                    assert (stage["state"], stage["attempt"]) == ("success", succeeded[name]), "it ran again"
                elif stage["state"] == "success":
                    succeeded[name] = stage["attempt"]
        assert document == over
    finally:
        journal.close()
    trace = Counter((directory / "work" / over["run_id"] / "done.txt").read_text().splitlines())
    for line, times in trace.items():
        stage, attempt, _ = line.split()
        assert times == 1, f"{line}: one attempt was executed twice"
        assert int(attempt) <= over["stages"][stage]["attempt"]
    return over


@pytest.mark.rule("V5", "D10")
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.timeout(1800)
def test_killed_at_a_write(tmp_path, when, seed):
    """Each write point once; the sweep ends where a run needs no further write."""
    numbers = range(1, MOST_WRITES) if WHOLE else sorted(random.Random(seed).sample(range(2, 9), 1))
    for number in numbers:
        directory = tmp_path / str(number)
        was_killed = end(begin(directory, when, number))
        assert judge(directory)["state"] == "success", number
        if not was_killed:
            assert number > 8, "a run of three stages has more writes than that"
            print(f"{number - 1} writes, each with a kill {when} it")
            return
    assert not WHOLE, "it writes for ever"


@pytest.mark.rule("V5", "D10")
@pytest.mark.timeout(3600)
def test_killed_at_random_times(tmp_path, seed):
    chance = random.Random(seed)
    began = time.monotonic()
    undisturbed = begin(tmp_path / "undisturbed")
    assert not end(undisturbed)
    took_s = time.monotonic() - began
    killed = 0
    for number in range(RANDOM_TIMES):
        directory = tmp_path / str(number)
        victim = begin(directory)
        killer = threading.Timer(chance.uniform(0.3, 1) * took_s, victim.kill)
        killer.start()
        killed += end(victim)
        killer.cancel()
        assert judge(directory)["state"] == "success", number
    print(f"{killed} of {RANDOM_TIMES} were killed before their end")
