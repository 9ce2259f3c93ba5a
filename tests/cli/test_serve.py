"""`serve`: one port until a signal."""

from __future__ import annotations

import signal
import urllib.request

import pytest

from tests.cli.terminal import Server, assert_refused, runstate


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_a_signal(home, number):
    with Server("pipelines.py", cwd=home) as server:
        with urllib.request.urlopen(f"{server.url}/ready") as answer:
            assert answer.status == 200
        server.signal(number)

        assert server.wait() == 0
        assert server.out.lines == [f"runstate is serving {server.url}"]
        assert server.err.lines == []


def test_a_port_in_use_is_refused(home):
    with Server("pipelines.py", cwd=home) as server:
        port = server.url.rpartition(":")[2]

        assert_refused(runstate("serve", "pipelines.py", "--port", port, "--data", "other", cwd=home), 4, port)


def test_a_directory_in_use_is_refused(home):
    with Server("pipelines.py", cwd=home) as server:
        done = runstate("serve", "pipelines.py", "--port", "0", cwd=home)

        assert_refused(done, 4, str(server.process.pid), server.url)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "nowhere"])
def test_other_addresses_are_refused(home, host):
    assert_refused(runstate("serve", "pipelines.py", "--host", host, "--port", "0", cwd=home), 2, host)


def test_the_stages_know_the_folder_of_the_target(home):
    (home / "sub").mkdir()
    (home / "sub" / "where.py").write_text(
        """
import os
from runstate import Pipeline
where = Pipeline("where")
@where.stage
def look(ctx):
    return {"folder": os.environ["RUNSTATE_TARGET_DIR"]}
"""
    )
    with Server("sub/where.py", cwd=home) as server:
        done = runstate("start", "where", "--wait", "--json", "--url", server.url, cwd=home)

        assert str(home / "sub") in done.stdout
