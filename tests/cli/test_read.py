"""`status`, `runs`, `show`, `history`: what a server knows, for people and byte for byte."""

from __future__ import annotations

import hashlib
import json
import urllib.request

import pytest

from tests.cli.terminal import PIPELINES, Server, assert_refused, caller, runstate


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("read")
    (folder / "pipelines.py").write_text(PIPELINES)
    return folder


@pytest.fixture(scope="module")
def server(home):
    """One server for the whole module: reading changes nothing."""
    with Server("pipelines.py", cwd=home) as served:
        yield served


@pytest.fixture(scope="module")
def call(server, home):
    return caller(server, home)


@pytest.fixture(scope="module")
def three(call):
    """The ids of three runs: a success, a failure, one that goes on."""
    done = [call("start", "quick", "--wait", "--json", *more) for more in ((), ("--meta", "fail=true"))]
    return [json.loads(each.stdout)["run_id"] for each in done] + [call("start", "held").stdout.strip()]


def body(server, path):
    with urllib.request.urlopen(server.url + path) as answer:
        return answer.read().decode()


def test_status_shows_every_pipeline(call, three):
    done = call("status")

    assert done.returncode == 0
    assert "quick  failed" in done.stdout
    assert "✘ count" in done.stdout
    assert "ValueError: bad row 7" in done.stdout
    assert "held  running_hold" in done.stdout
    assert "1/2 turns" in done.stdout
    assert "stubborn  idle  has never run" in done.stdout


def test_json_is_what_the_server_sends_byte_for_byte(call, server, three):
    for words, path in [
        (("status",), "/api/pipeline/status"),
        (("status", "stubborn"), "/api/pipelines/stubborn/status"),
        (("show", three[0]), f"/api/runs/{three[0]}"),
        (("show", f"{three[0]}@3"), f"/api/runs/{three[0]}/versions/3"),
        (("history", three[1]), None),
        (("runs",), None),
    ]:
        done = call(*words, "--json")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert done.stdout.count("\n") == 1
        if path is not None:
            assert done.stdout == body(server, path) + "\n"


def test_runs_are_listed_newest_first_and_chosen(call, three):
    lines = call("runs").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:]] == three[::-1]
    assert "ValueError: bad row 7" in lines[2]
    assert [run["run_id"] for run in json.loads(call("runs", "--status", "error", "--json").stdout)["runs"]] == [
        three[1]
    ]
    assert [run["run_id"] for run in json.loads(call("runs", "--pipeline", "held", "--json").stdout)["runs"]] == [
        three[2]
    ]
    assert [run["run_id"] for run in json.loads(call("runs", "--state", "success", "--json").stdout)["runs"]] == [
        three[0]
    ]
    assert len(json.loads(call("runs", "--limit", "2", "--json").stdout)["runs"]) == 2
    assert call("runs", "--pipeline", "stubborn").stdout == "no runs\n"


def test_show_tells_everything_and_its_digest_is_that_of_the_json(call, three):
    page = call("show", three[1]).stdout
    encoded = call("show", three[1], "--json").stdout.rstrip("\n").encode()

    assert "sha-256:" + hashlib.sha256(encoded).hexdigest() in page
    for words in ("ValueError: bad row 7  (exception)", '{"fail":true}', "✔ fetch", "✘ count", "files = 3"):
        assert words in page


def test_a_run_is_named_by_latest_by_id_or_by_the_beginning_of_one(call, three):
    for name in ("latest", three[2], three[2].lower(), three[2][:22]):
        assert json.loads(call("show", name, "--json").stdout)["run_id"] == three[2]

    assert_refused(call("show", three[0][:3]), 2, "several runs", *three)
    assert_refused(call("show", "ZZZ"), 2, "ZZZ")
    assert_refused(call("show", "no-id"), 2, "no-id")
    assert_refused(call("show", "latest@4000"), 2, "4000")


def test_history_says_what_each_version_changed(call, three):
    lines = call("history", three[1]).stdout.splitlines()

    assert lines[1].split()[0] == "1"
    assert "the run begins" in lines[1]
    assert any("fetch 1/3 files f1.csv" in line for line in lines)
    assert any("running_count → retrying" in line and "ValueError: bad row 7" in line for line in lines)
    assert "→ failed" in lines[-1]


def test_history_is_read_in_pages(call, three):
    lines = call("history", three[1], "--after", "2", "--limit", "3").stdout.splitlines()

    assert [line.split()[0] for line in lines[1:4]] == ["3", "4", "5"]
    assert lines[4].endswith("later versions: --after 5")


def test_no_server_is_3(tmp_path):
    for words in (
        ["status"],
        ["runs"],
        ["show", "latest"],
        ["history", "latest"],
        ["watch"],
        ["watch", "--once", "--json"],
    ):
        assert_refused(runstate(*words, "--url", "http://127.0.0.1:1", cwd=tmp_path), 3, "127.0.0.1:1")


def test_a_server_of_something_else_is_one_sentence(tmp_path):
    done = runstate("status", "--url", "http://", cwd=tmp_path)

    assert_refused(done, 2, "http://")


def test_nothing_is_coloured_in_a_pipe(call, three):
    assert "\x1b" not in call("status").stdout + call("runs").stdout + call("show", "latest").stdout
