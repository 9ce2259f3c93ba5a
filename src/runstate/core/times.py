"""Wall times on the wire: RFC 3339, UTC, three digits, `Z` (PROTOCOL §2). For people; never compared."""

from __future__ import annotations

from datetime import UTC, datetime


def format_time(at_ms: int) -> str:
    """Return `at_ms` (milliseconds since the Unix epoch) as `2026-11-23T17:36:00.123Z`."""
    seconds, millis = divmod(at_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{millis:03d}Z"


def parse_time(text: str) -> int:
    """Return the milliseconds since the Unix epoch of a time that `format_time` wrote."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
