"""How numbers, times, patches and links read."""

from __future__ import annotations

import pytest

from runstate.cli.failures import Usage
from runstate.cli.lines import news, outcome, owner_news, patch_words
from runstate.cli.options import parse_meta, parse_stages
from runstate.cli.seen import Seen
from runstate.cli.stage_log import StageLog
from runstate.cli.words import age, amount, duration, number, one_line, pace, share
from runstate.pipeline.runlog import Line

AT = 1_700_000_000_000  # 2023-11-14T22:13:20Z


def stage(**members):
    plain = {"state": "pending", "attempt": 0, "started_at": None, "ended_at": None, "progress": None, "error": None}
    return plain | {"error_code": None, "outputs": {}} | members


def run(state, *, stages, **members):
    plain = {"run_id": "R", "pipeline": "p", "state": state, "started_at": "2023-11-14T22:13:20.000Z", "ended_at": None}
    return plain | {"error": None, "stop_requested": None, "stage_order": list(stages), "stages": stages} | members


def progress(done, total=None, unit=None, message=None):
    return {"done": done, "total": total, "unit": unit, "message": message}


@pytest.mark.parametrize(
    ("ms", "words"),
    [
        (-5, "0 ms"),
        (99, "99 ms"),
        (100, "0.1 s"),
        (59_949, "59.9 s"),
        (59_950, "1 min 00 s"),
        (125_000, "2 min 05 s"),
        (3_600_000, "1 h 00 min"),
        (3 * 86_400_000 + 4 * 3_600_000, "3 d 04 h"),
    ],
)
def test_durations(ms, words):
    assert duration(ms) == words


@pytest.mark.parametrize(
    ("ms", "words"), [(-1, "0 s ago"), (14_900, "14 s ago"), (60_000, "1 min ago"), (9e7, "1 d ago")]
)
def test_ages(ms, words):
    assert age(ms) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (1234567, "1,234,567"), (0.25, "0.25"), (1234.5, "1,234"), (2.0, "2"), (-3, "-3")]
)
def test_numbers(value, words):
    assert number(value) == words


def test_amounts_and_shares():
    assert amount(progress(3, 10, "files")) == "3/10 files"
    assert amount(progress(1200)) == "1,200"
    assert amount(None) == ""
    assert share(progress(3, 10)) == 0.3
    assert share(progress(12, 10)) == 1.0
    assert share(progress(3)) is None
    assert share(progress(3, 0)) is None


def test_a_pace_needs_a_total_and_a_second():
    running = stage(state="running", started_at="2023-11-14T22:13:20.000Z", progress=progress(10, 40))

    assert pace(running, now_ms=AT + 5_000) == "2/s, 15 s left"
    assert pace(running, now_ms=AT + 500) == ""
    assert pace(running | {"progress": progress(10)}, now_ms=AT + 5_000) == ""
    assert pace(running | {"state": "success"}, now_ms=AT + 5_000) == ""
    assert pace(running | {"progress": progress(1, 3)}, now_ms=AT + 120_000) == "0.5/min, 4 min 00 s left"


def test_what_a_terminal_would_obey_is_not_passed_on():
    assert one_line("a\x1b[31mb\tc\nsecond") == "a\ufffd[31mb c…"
    assert one_line("x" * 10, 5) == "xxxx…"
    assert one_line(None) == ""


def test_news_tell_where_skipped_versions_led():
    begun = run("starting", stages={"a": stage(), "b": stage()})
    done = {"started_at": "2023-11-14T22:13:20.000Z", "ended_at": "2023-11-14T22:13:22.000Z"}
    later = run(
        "running_b",
        stages={
            "a": stage(state="success", attempt=1, progress=progress(3, 3, "files"), **done),
            "b": stage(state="running", attempt=2),
        },
        stop_requested={"at": "", "by": "ann", "reason": "wrong day"},
    )

    assert list(news(None, begun, now_ms=AT)) == ["run R of p: starting"]
    assert list(news(begun, later, now_ms=AT)) == [
        "run R of p: stop requested by ann: wrong day",
        "a: success after 2.0 s (3/3 files)",
        "b: running, attempt 2",
    ]
    assert list(news(later, later, now_ms=AT)) == []


def test_news_of_a_pipeline_are_its_health_and_what_its_schedule_did_not_start():
    schedule = {
        "cron": "0 7 * * *", "tz": "UTC", "queued_at": None, "next_run_at": None, "last_run_id": None,
        "last_skip_reason": "disabled",
    }  # fmt: skip
    new = {"pipeline": "p", "health": {"state": "healthy", "reasons": []}, "schedule": None}
    timed = new | {"schedule": schedule}
    skipped = new | {"schedule": schedule | {"last_skip_reason": "overlap"}}
    sick = timed | {"health": {"state": "degraded", "reasons": ["same_stage: twice"]}}

    assert list(owner_news(None, new, now_ms=AT)) == []
    assert list(owner_news(new, timed, now_ms=AT)) == ["schedule of p: 0 7 * * * UTC, disabled"]
    assert list(owner_news(timed, skipped, now_ms=AT)) == [
        "schedule of p: 0 7 * * * UTC, disabled, last skipped: overlap"
    ]
    assert list(owner_news(timed, sick, now_ms=AT)) == ["health of p: degraded (same_stage: twice)"]
    assert list(owner_news(sick, sick, now_ms=AT)) == []
    begun = timed | {"schedule": schedule | {"last_run_id": "R"}}
    assert list(owner_news(timed, begun, now_ms=AT)) == [], "the run tells it"


def test_an_outcome_is_one_line():
    over = run("failed", stages={}, error="ValueError: no\nmore", ended_at="2023-11-14T22:15:20.000Z")

    assert outcome(over, now_ms=AT) == "run R of p: failed after 2 min 00 s: ValueError: no…"


def test_patches_are_told_in_short():
    patch = [
        {"op": "replace", "path": "/version", "value": 3},
        {"op": "replace", "path": "/updated_at", "value": "2023"},
        {"op": "replace", "path": "/stages/a/state", "value": "running"},
        {"op": "replace", "path": "/stages/a/progress/done", "value": 4},
        {"op": "replace", "path": "/stages/a/progress/message", "value": "x.csv"},
        {"op": "add", "path": "/metadata/day~1night", "value": 1},
        {"op": "replace", "path": "/stages/b/progress", "value": progress(1, 2, "rows")},
        {"op": "remove", "path": "/metadata/old"},
    ]

    assert patch_words(patch) == "a running, metadata.day/night = 1, metadata.old removed, a 4 x.csv, b 1/2 rows"
    assert patch_words(None) == "the run begins"
    assert patch_words([]) == ""


def test_metadata_is_json_where_it_reads_as_json():
    assert parse_meta(["a=1", "b=x=y", "c=[1]", "d=", "e=NaN", "f=007", "g=true", "h=null"]) == {
        "a": 1, "b": "x=y", "c": [1], "d": "", "e": "NaN", "f": "007", "g": True, "h": None,
    }  # fmt: skip
    for bad in (["a"], ["=1"], ["a=1", "a=1"], ["a=99999999999999999999"]):
        with pytest.raises(Usage):
            parse_meta(bad)


def test_stages_may_be_listed():
    assert parse_stages(["a,b", "c"]) == ["a", "b", "c"]
    assert parse_stages([]) is None


def test_a_link_that_is_not_live_says_how_old_it_is():
    assert Seen("quiet", AT, "P").link_words(now_ms=AT + 60_000) == "live"
    assert Seen("stale", AT, "P").link_words(now_ms=AT + 14_000).endswith(", 14 s ago")
    assert Seen("stale", AT, "P").link_words(now_ms=AT).startswith("stale, as of ")
    assert Seen("connecting", None, None, trouble="no").link_words(now_ms=AT) == "connecting (no)"


def test_what_is_shown_is_each_pipeline_once_and_the_other_runs():
    owners = ({"pipeline": "p", "current_run_id": "R", "stage_order": []}, {"pipeline": "q", "current_run_id": None, "stage_order": ["s"]})  # fmt: skip
    seen = Seen(
        "live", AT, "P", pipelines=owners, runs=(run("success", stages={}), run("failed", stages={}, run_id="old"))
    )

    assert [document["run_id"] for document in seen.shown()] == ["R", None, "old"]
    assert seen.shown()[1]["stages"]["s"]["state"] == "pending"


def test_tracebacks_stay_in_the_log(monkeypatch):
    monkeypatch.delenv("RUNSTATE_DEBUG", raising=False)
    log = StageLog()
    texts = [
        "before",
        "Traceback (most recent call last):",
        '  File "x.py", line 1',
        "    boom()",
        "ValueError: no",
        "after",
    ]

    shown = [log.words(Line("R", AT, "s", 1, "info", text)) for text in texts]

    assert [words for words in shown if words] == ["s | before", "s | after"]
