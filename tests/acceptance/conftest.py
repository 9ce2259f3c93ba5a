"""The bench of the acceptance tests; every store that a test leaves is judged after it, whatever the test looked at."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from tests.acceptance.harness import Bench
from tests.acceptance.judge import judge_store
from tests.acceptance.puppets import Puppets


@pytest.fixture
def bench(tmp_path, request):
    """A folder for pipelines, a data directory and puppets; at the end all rules of all documents are checked."""
    with working(tmp_path, request) as bench:
        yield bench


@pytest.fixture(scope="module")
def shared_bench(tmp_path_factory, request):
    """One bench for all tests of a file that leave nothing under way."""
    with working(tmp_path_factory.mktemp("shared"), request) as bench:
        yield bench


@contextmanager
def working(folder, request):
    failed = request.session.testsfailed
    with Puppets() as puppets:
        bench = Bench(folder, puppets)
        try:
            yield bench
            for server in bench.servers:
                if server.process.poll() is None and request.session.testsfailed == failed:
                    judge_store(server.http)
        finally:
            for server in bench.servers:
                server.close()
