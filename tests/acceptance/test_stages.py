"""What a stage may do and what becomes of it: failures, retries, time limits, outputs, metadata, progress."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.judge import get

PIPELINES = """
two = Pipeline("two", progress_interval_s=0)
two.stage(name="fetch")(puppet.task)
two.stage(name="crunch")(puppet.plain)

again = Pipeline("again", progress_interval_s=0)
again.stage(name="fetch", retries=2, backoff_s=0.05)(puppet.task)
again.stage(name="crunch", retries=2, backoff_s=0.05)(puppet.plain)

hasty = Pipeline("hasty", progress_interval_s=0)
hasty.stage(name="crunch", retries=1, backoff_s=0, timeout_s=0.6, grace_s=0.2)(puppet.plain)

hasty_task = Pipeline("hasty_task", progress_interval_s=0)
hasty_task.stage(name="fetch", retries=1, backoff_s=0, timeout_s=0.4, grace_s=0.2)(puppet.task)

patient = Pipeline("patient", progress_interval_s=0)
patient.stage(name="crunch", retries=3, backoff_s=300)(puppet.plain)

folding = Pipeline("folding")

@folding.stage
async def fetch(ctx):
    for done in range(100_000):
        ctx.progress(done + 1, total=100_000)

@folding.stage
def crunch(ctx):
    for done in range(100_000):
        ctx.progress(done + 1, total=100_000)
"""
STAGES = ("fetch", "crunch")


@pytest.fixture(scope="module")
def server(shared_bench):
    return shared_bench.serve(PIPELINES)


@pytest.fixture
def begin(server, shared_bench):
    """Start a run of one stage and return its id and its puppet."""

    def start(pipeline: str, stage: str, **body):
        run_id = server.start_run(pipeline, stages=[stage], **body)["run_id"]
        return run_id, shared_bench.puppets.next(stage, attempt=1)

    yield start
    assert shared_bench.puppets.nobody(), "a stage began that nobody wanted"


ENDS = {
    "an exception": ("raise", "ValueError('no such file: ü')", "failed", "exception", "ValueError: no such file: ü"),
    "an exception without text": ("raise", "KeyError()", "failed", "exception", "KeyError"),
    "an exception with a lone surrogate": ("raise", "OSError('\\udcff')", "failed", "exception", "OSError: "),
    "Fatal": ("raise", "__import__('runstate').Fatal('bad', code='bad_input')", "failed", "bad_input", "Fatal: bad"),
    "Fatal without a code": ("raise", "__import__('runstate').Fatal('bad')", "failed", "exception", "Fatal: bad"),
    "sys.exit": ("raise", "SystemExit(3)", "failed", "exit_status", "SystemExit"),
    "sys.exit(0)": ("raise", "SystemExit(0)", "failed", "exit_status", "SystemExit"),
    "MemoryError": ("raise", "MemoryError('big')", "failed", "out_of_memory", "MemoryError"),
    "a recursion": ("raise", "RecursionError('deep')", "failed", "exception", "RecursionError: deep"),
    "text": ("return", "'done'", "failed", "bad_output", ""),
    "a list": ("return", "[1]", "failed", "bad_output", ""),
    "True": ("return", "True", "failed", "bad_output", ""),
    "a set inside": ("return", "{'a': {1}}", "failed", "bad_output", "outputs.a"),
    "bytes inside": ("return", "{'a': b'x'}", "failed", "bad_output", "outputs.a"),
    "NaN": ("return", "{'mean': float('nan')}", "failed", "bad_output", "outputs.mean"),
    "infinity": ("return", "{'m': [1, float('-inf')]}", "failed", "bad_output", "outputs.m"),
    "2**53": ("return", "{'n': 2**53}", "failed", "bad_output", "outputs.n"),
    "-2**53": ("return", "{'n': -2**53}", "failed", "bad_output", "outputs.n"),
    "1e17": ("return", "{'n': 1e17}", "failed", "bad_output", "outputs.n"),
    "a surrogate": ("return", "{'s': chr(0xd800)}", "failed", "bad_output", "outputs.s"),
    "a surrogate key": ("return", "{chr(0xdc00): 1}", "failed", "bad_output", ""),
    "a key that is a number": ("return", "{1: 2}", "failed", "bad_output", ""),
    "65 KiB": ("return", "{'a': 'x' * 66_000}", "failed", "bad_output", "64 KiB"),
    "200 MB": ("return", "{'a': 'x' * 200_000_000}", "failed", "bad_output", ""),
    "a million members": ("return", "{str(n): n for n in range(1_000_000)}", "failed", "bad_output", ""),
    "itself": ("return", "(lambda d: d.update(a=d) or d)({})", "failed", "bad_output", ""),
    "deep": ("return", "__import__('functools').reduce(lambda a, _: {'a': a}, range(5000), {})", "failed", "bad_output", ""),
    "None": ("return", "None", "success", None, None),
    "Skip": ("raise", "__import__('runstate').Skip('nothing new')", "success", None, None),
    "just 64 KiB": ("return", "{'a': 'x' * (65536 - 8)}", "success", None, None),
}  # fmt: skip


@pytest.mark.rule("D1", "D4", "D9")
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", ENDS)
def test_how_a_stage_ends(server, begin, stage, name):
    """Each way out of a stage, of both kinds, is one state, one word and one sentence."""
    do, code, state, error_code, text = ENDS[name]
    run_id, held = begin("two", stage)
    held.say(do, code)

    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"]) == (state, error_code), over["error"]
    record = over["stages"][stage]
    assert record["state"] == ("skipped" if name == "Skip" else state)
    assert record["attempt"] == 1 and record["started_at"] <= record["ended_at"]
    if text is not None:
        assert text in over["error"] and over["error"].split(":")[0].isidentifier(), "TypeName: message"
        assert over["error"] == record["error"] and record["outputs"] == {}


@pytest.mark.rule("D1")
@pytest.mark.parametrize("stage", STAGES)
def test_a_long_error_is_cut_and_marked(server, begin, stage):
    """An error text over 8 KiB is cut within a character, and says so."""
    run_id, held = begin("two", stage)
    held.raises("ValueError('€' * 100_000)")

    over = server.wait_over(run_id)
    size = len(over["error"].encode())
    assert 8 * 1024 - 8 <= size <= 8 * 1024
    assert over["error"].startswith("ValueError: €€€") and not over["error"].endswith("€"), "the cut is marked"
    assert "�" not in over["error"]


@pytest.mark.rule("D9")
@pytest.mark.parametrize(
    ("code", "error_code"),
    [("os.kill(os.getpid(), 9)", "killed"), ("os._exit(7)", "exit_status"), ("os.abort()", "killed")],
)
def test_a_worker_that_dies_is_seen(server, begin, code, error_code):
    """A plain stage that is killed or exits is failed at once, with the signal or the status."""
    run_id, held = begin("two", "crunch")
    held.say("exec", code)

    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"]) == ("failed", error_code)
    assert any(word in over["error"] for word in ("SIGKILL", "status 7", "SIGABRT"))


@pytest.mark.rule("D2", "D4")
@pytest.mark.parametrize("stage", STAGES)
def test_retries_count_attempts(server, shared_bench, begin, stage):
    """A stage that fails twice and then works is a success in its third attempt; every step is in the history."""
    run_id, held = begin("again", stage)
    held.raises("ValueError('one')")
    held = shared_bench.puppets.next(stage, attempt=2)
    mid = server.run(run_id)
    assert mid["retry_count"] == 1 and mid["error"] is None and mid["stages"][stage]["error"] is None
    held.raises("SystemExit(1)")
    held = shared_bench.puppets.next(stage, attempt=3)
    held.returns("{'n': 1}")

    over = server.wait_over(run_id)
    assert (over["state"], over["retry_count"], over["stages"][stage]["attempt"]) == ("success", 2, 3)
    commits = get(server.http, f"/api/runs/{run_id}/history").json()["commits"]
    states = [commit["new_state"] for commit in commits if commit["old_state"] != commit["new_state"]]
    assert states == ["starting", *[f"running_{stage}", "retrying"] * 2, f"running_{stage}", "success"]


@pytest.mark.rule("D4")
def test_retries_end(server, shared_bench, begin):
    """With two retries the third failure is the last; Fatal does not retry at all."""
    run_id, held = begin("again", "crunch")
    held.raises("ValueError(1)")
    shared_bench.puppets.next("crunch", attempt=2).raises("ValueError(2)")
    shared_bench.puppets.next("crunch", attempt=3).raises("ValueError(3)")
    over = server.wait_over(run_id)
    assert (over["state"], over["error"], over["retry_count"]) == ("failed", "ValueError: 3", 2)

    run_id, held = begin("again", "crunch")
    held.raises("__import__('runstate').Fatal('no')")
    assert server.wait_over(run_id)["stages"]["crunch"]["attempt"] == 1


@pytest.mark.rule("C5")
def test_a_stop_ends_the_pause_before_a_retry(server, begin):
    """A run that waits five minutes for its next attempt stops at once when it is asked to."""
    run_id, held = begin("patient", "crunch")
    held.raises("ValueError(1)")
    waiting = server.wait_state(run_id, "retrying")
    assert waiting["error"] == "ValueError: 1" and waiting["current_stage"] == "crunch"
    assert server.stop_run(run_id).status_code == 202
    over = server.wait_over(run_id)
    assert (over["state"], over["stages"]["crunch"]["state"]) == ("stopped", "stopped")


@pytest.mark.rule("D9")
def test_a_plain_stage_that_takes_too_long_is_dead_before_it_starts_again(server, shared_bench, begin):
    """After `timeout_s` and the grace the worker is killed, and only then the next attempt begins."""
    run_id, held = begin("hasty", "crunch")
    held.do("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); ctx.stopping")
    second = shared_bench.puppets.next("crunch", attempt=2)  # its flock is free, or it fails with `exception`
    held.wait_dead()
    assert second.pid != held.pid
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"], over["retry_count"]) == ("failed", "timeout", 1)
    assert over["error"].startswith("TimeoutError: ") and "0.6" in over["error"]


@pytest.mark.rule("D9")
def test_an_async_stage_that_takes_too_long_is_cancelled(server, shared_bench, begin):
    """An async stage over its time is cancelled, tried again, and fails with `timeout`."""
    run_id, held = begin("hasty_task", "fetch")
    held.wait_dead()
    shared_bench.puppets.next("fetch", attempt=2)
    over = server.wait_over(run_id)
    assert (over["state"], over["error_code"], over["retry_count"]) == ("failed", "timeout", 1)


@pytest.mark.rule("D1")
@pytest.mark.parametrize("stage", STAGES)
def test_metadata_is_changed_by_merge_patches(server, begin, stage):
    """`update_metadata` merges as RFC 7396 says: None removes, objects merge, arrays are replaced."""
    run_id, held = begin("two", stage, metadata={"a": {"b": 1, "c": [1, 2]}, "d": "x"})
    assert held.do("answer = dict(ctx.metadata)['d']") == "x"
    held.do(
        "ctx.update_metadata({'a': {'b': None, 'c': [3], 'e': {'f': None, 'g': 0.5}}, 'd': None, 'h': {'i': None}, 'é': '\U0001f600'})"
    )
    merged = {"a": {"c": [3], "e": {"g": 0.5}}, "h": {}, "é": "😀"}
    assert server.wait_run(run_id, lambda document: "h" in document["metadata"])["metadata"] == merged
    for bad in (
        "{'n': 2**53}",
        "{'n': float('nan')}",
        "[1]",
        "{'n': object()}",
        "{'n': chr(0xd800)}",
        "{1: 1}",
        "{'x': 'y' * 10**6}",
    ):
        assert "raised" in held.ask(f"ctx.update_metadata({bad})"), bad
    assert server.run(run_id)["metadata"] == merged
    assert "raised" in held.ask("ctx.metadata['z'] = 1") and "raised" in held.ask("ctx.metadata['a']['z'] = 1")
    held.returns()
    assert server.wait_over(run_id)["metadata"] == merged


@pytest.mark.rule("D1")
@pytest.mark.parametrize("stage", STAGES)
def test_progress_says_what_it_was_told(server, begin, stage):
    """Every progress call is a commit here; whole floats become integers, what is no number is refused in the stage."""
    run_id, held = begin("two", stage)
    for bad in ("float('nan')", "float('inf')", "2**53", "'3'", "None", "True", "[]", "1, total=float('nan')"):
        assert "raised" in held.ask(f"ctx.progress({bad})"), bad
    held.do("ctx.progress(3, total=10, unit='files', message='SPY_2011.csv')")
    held.do("ctx.progress(3.5, total=7.0)")
    held.do("ctx.progress(0.1 + 0.2, message='x' * 100_000)")
    held.do("ctx.progress(1e-9, 1e300)")
    held.do("ctx.progress(-0.0, message=chr(0xd800) + '\\u2028')")
    held.returns()
    server.wait_over(run_id)
    commits = get(server.http, f"/api/runs/{run_id}/history").json()["commits"]
    progress = [
        json.loads(get(server.http, f"/api/runs/{run_id}/versions/{commit['version']}").content)["stages"][stage]["progress"]
        for commit in commits if commit["cause"]["event"] == "progress_reported"
    ]  # fmt: skip
    assert progress[0] == {"done": 3, "total": 10, "unit": "files", "message": "SPY_2011.csv"}
    assert progress[1] == {"done": 3.5, "total": 7, "unit": None, "message": None}
    assert progress[2]["done"] == 0.1 + 0.2 and 0 < len(progress[2]["message"]) < 100_000
    assert (progress[3]["done"], progress[3]["total"]) == (1e-9, 1e300)
    assert progress[4]["done"] == 0 and "\ud800" not in progress[4]["message"]
    assert len(progress) == 5


def test_progress_may_be_called_100_000_times(server):
    """A hundred thousand calls are a few commits, and the last one counts."""
    run_id = server.start_run("folding")["run_id"]
    over = server.wait_over(run_id)
    assert {record["progress"]["done"] for record in over["stages"].values()} == {100_000}
    assert over["version"] < 500


def test_a_stage_reads_what_earlier_stages_wrote(server, shared_bench):
    """`outputs` gives a finished stage's outputs, and a KeyError for any other."""
    run_id = server.start_run("two")["run_id"]
    shared_bench.puppets.next("fetch").returns("{'files': [1, {'a': 0.5}], 'é': None}")
    held = shared_bench.puppets.next("crunch")
    assert held.do("answer = ctx.outputs('fetch')") == {"files": [1, {"a": 0.5}], "é": None}
    for other in ("crunch", "nobody", ""):
        assert "KeyError" in held.ask(f"ctx.outputs({other!r})")["raised"]
    assert held.do("answer = [ctx.run_id, ctx.pipeline, ctx.stage, ctx.attempt, ctx.workdir.is_dir()]") == [
        run_id,
        "two",
        "crunch",
        1,
        True,
    ]
    held.returns()
    assert server.wait_over(run_id)["state"] == "success"


@pytest.mark.rule("D2")
def test_a_run_of_some_stages(server, begin):
    """`stages` plans a part, in the pipeline's order; the rest is not in the document."""
    run_id, held = begin("two", "crunch")
    document = server.run(run_id)
    assert document["stage_order"] == ["crunch"] and list(document["stages"]) == ["crunch"]
    assert "KeyError" in held.ask("ctx.outputs('fetch')")["raised"]
    held.returns()
    assert server.wait_over(run_id)["state"] == "success"
    assert get(server.http, "/api/pipelines/two").json()["stage_order"] == ["fetch", "crunch"]
