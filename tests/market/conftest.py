"""Real exports to test on; those that are not shipped lie beside the repository and may be absent."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SHARED = REPOSITORY.parent / "shared" / "data"
EXAMPLE = REPOSITORY / "examples" / "market"
SHIPPED = REPOSITORY / "src" / "runstate" / "market" / "data" / "eurusd-1h-2017.csv"


@pytest.fixture(scope="session")
def spy_file() -> Path:
    """Return SPY, 1 minute, January 2011: ninjatrader layout, UTC, stamp = close."""
    path = SHARED / "pyalgotrade" / "nt-spy-minute-2011.csv"
    if not path.is_file():
        pytest.skip(f"needs the real export {path}, which is not part of the repository")
    return path


@pytest.fixture(scope="session")
def eurusd_file() -> Path:
    """Return the shipped EUR/USD, 1 hour, 2017: dukascopy layout, UTC, stamp = open."""
    return SHIPPED
