from __future__ import annotations

import pytest

from tests.cli.terminal import PIPELINES, Server, caller


@pytest.fixture
def home(tmp_path):
    """A folder with a file of pipelines: quick, held and stubborn."""
    (tmp_path / "pipelines.py").write_text(PIPELINES)
    return tmp_path


@pytest.fixture
def server(home):
    """A server of these pipelines."""
    with Server("pipelines.py", cwd=home) as served:
        yield served


@pytest.fixture
def call(server, home):
    """Calls a client command on the server."""
    return caller(server, home)
