"""Run ids: ULIDs (48 bits of time, 80 of chance, Crockford's base 32), so they sort by age and read well aloud."""

from __future__ import annotations

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def run_id(now_ms: int, chance: bytes) -> str:
    """Return 26 characters.

    Args:
        now_ms: Wall time, milliseconds since the Unix epoch.
        chance: Ten random bytes.
    """
    number = (now_ms << 80) | int.from_bytes(chance, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))
