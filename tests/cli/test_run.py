"""`run`: once, in this process."""

from __future__ import annotations

import json
import signal

from tests.cli.terminal import Program, Server, assert_refused, runstate


def test_a_run_succeeds_and_is_told_line_by_line(home):
    done = runstate("run", "pipelines.py", "--pipeline", "quick", cwd=home)

    assert done.returncode == 0, done.stderr
    assert "of quick: success after" in done.stdout
    assert done.stdout.count("\n") == 1
    told = [line.split(" ", 1)[1] for line in done.stderr.splitlines() if line[:2].isdigit()]
    assert "fetch: running" in told
    assert "fetch | fetched all" in told
    assert any(line.startswith("fetch: success after") and line.endswith("(3/3 files)") for line in told)
    assert told.index("fetch: running") < told.index("count: running") < told.index("publish: running")


def test_json_is_the_final_document_and_nothing_else(home):
    done = runstate(
        "run",
        "pipelines.py:quick",
        "--json",
        "--meta",
        "dry=true",
        "--meta",
        "who=7a",
        "--stage",
        "fetch,publish",
        cwd=home,
    )

    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert document["state"] == "success"
    assert document["metadata"] == {"dry": True, "who": "7a"}
    assert document["stage_order"] == ["fetch", "publish"]
    assert document["stages"]["publish"]["state"] == "skipped"


def test_a_failed_run_exits_1_and_its_traceback_is_in_the_log_only(home):
    done = runstate("run", "pipelines.py:quick", "--meta", "fail=1", cwd=home)

    assert done.returncode == 1
    assert "count: failed, attempt 2" in done.stderr
    assert "ValueError: bad row 7" in done.stdout
    assert "Traceback" not in done.stderr + done.stdout
    log = done.stderr.splitlines()[-1].removeprefix("the whole log is in ")
    assert any("Traceback" in part.read_text() for part in (home / log).iterdir())


def test_debug_shows_the_traceback(home):
    done = runstate("--debug", "run", "pipelines.py:quick", "--meta", "fail=1", cwd=home)

    assert "Traceback" in done.stderr


def test_ctrl_c_stops_the_run(home):
    with Program("run", "pipelines.py:held", cwd=home) as program:
        program.err.until("hold: running")
        program.signal(signal.SIGINT)

        assert program.wait() == 130
        assert "of held: stopped after" in program.out.lines[-1]


def test_a_second_signal_leaves_at_once_and_the_run_goes_on_next_time(home):
    with Program("run", "pipelines.py:stubborn", cwd=home) as program:
        program.err.until("deaf: running")
        program.signal(signal.SIGTERM)
        program.err.until("once more to leave at once")
        program.signal(signal.SIGTERM)

        assert program.wait() == 130


def test_an_interrupted_run_goes_on_before_the_new_one(home):
    with Program("run", "pipelines.py:held", "--meta", "once=true", cwd=home) as program:
        first = program.err.until("of held: starting").split()[2]
        program.err.until("hold: running")
        program.kill()

    with Program("run", "pipelines.py:held", cwd=home) as program:
        program.err.until(f"run {first} was interrupted; it goes on")
        program.err.until("hold: running, attempt 2")
        second = program.err.until("of held: starting").split()[2]
        program.err.until("hold: running, attempt 2")
        assert second != first
        program.signal(signal.SIGINT)
        assert program.wait() == 130


def test_a_directory_that_a_server_holds_is_refused_with_the_way_out(home):
    with Server("pipelines.py", cwd=home) as server:
        done = runstate("run", "pipelines.py:quick", cwd=home)

        assert_refused(done, 4, str(server.process.pid), f"runstate start quick --url {server.url}")


def test_several_pipelines_need_a_name(home):
    assert_refused(runstate("run", "pipelines.py", cwd=home), 2, "--pipeline", "quick, held, stubborn")
    assert_refused(runstate("run", "pipelines.py", "--pipeline", "no", cwd=home), 2, "no pipeline no", "quick")


def test_unknown_stages_and_bad_metadata_are_wrong_usage(home):
    for words, said in [
        (("--stage", "nope"), "no stage nope"),
        (("--meta", "novalue"), "name=value"),
        (("--meta", "a=1", "--meta", "a=2"), "given twice"),
        (("--meta", "n=9007199254740993"), "2^53"),
    ]:
        assert_refused(runstate("run", "pipelines.py:quick", *words, cwd=home), 2, said)

    assert not (home / ".runstate").exists()


def test_a_data_directory_that_cannot_be_is_one_sentence(home):
    (home / "file").write_text("")

    done = runstate("run", "pipelines.py:quick", "--data", "file", cwd=home)

    assert_refused(done, 1, "--data")
