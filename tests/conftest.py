"""What every test may ask for: chance that can be repeated, and a browser.

A random test is written with Hypothesis or takes the fixture `seed`. When it fails, the line to paste stands below it.
With CI=true nothing is left to chance: every run draws the same examples, and more of them.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import sys
import zlib
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

CI = os.environ.get("CI") == "true"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# How fast examples are drawn says something about the machine, not about the code.
CALM = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("local", CALM)
settings.register_profile("ci", CALM, derandomize=True, max_examples=300)
settings.load_profile("ci" if CI else "local")

SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="repeat random tests with the number that a failure printed")


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads its own option
def pytest_configure(config: pytest.Config) -> None:
    number = config.getoption("--seed")
    if number is not None:
        settings.load_profile("local")
        config.option.hypothesis_seed = str(number)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return the number that all chance of a test comes from: `random.Random(seed)`."""
    number = request.config.getoption("--seed")
    if number is None:
        number = zlib.crc32(request.node.nodeid.encode()) if CI else random.getrandbits(32)
    request.node.stash[SEED] = number
    return number


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (SEED in item.stash or is_hypothesis_test(getattr(item, "obj", None))):
        # What Hypothesis found lies in .hypothesis and is tried first; with CI=true it is found again.
        options = f" --seed {item.stash[SEED]}" if SEED in item.stash else ""
        line = f'{"CI=true " * CI}make unit ARGS="{shlex.quote(item.nodeid)}{options}"'
        report.sections.append(("repeat it", line))
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return the path of a Chromium for Playwright's `executable_path`.

    Skips the test where there is none or Playwright does not work, except with CI=true: then it fails.
    """
    driver = subprocess.run(
        [sys.executable, "-m", "playwright", "--version"], capture_output=True, text=True, check=False
    )
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if driver.returncode == 0 and path is not None:
        return path
    why = (
        f"needs a browser, and none of {', '.join(BROWSERS)} is on PATH; install one (Debian: apt-get install chromium)"
        if path is None
        else f"needs Playwright, which does not start: {driver.stderr.strip()}"
    )
    if CI:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)
