"""How long a client waits before it tries again (PROTOCOL F13).

Law: full jitter, so that a thousand clients of one restarted server do not come back at one moment; the ceiling doubles
from 0.25 s to 30 s and there is no last try. Randomness is an argument.
"""

from __future__ import annotations

import math

FIRST_CEILING_MS = 250
LAST_CEILING_MS = 30_000
_DOUBLINGS = 7  # 250 ms × 2^7 is beyond the last ceiling; a larger exponent is never computed


def delay_ms(failures: int, random: float) -> int:
    """Return the wait in milliseconds before the next try.

    Args:
        failures: Tries that failed since things last went well, from 0.
        random: Drawn evenly from [0, 1).
    """
    ceiling = min(LAST_CEILING_MS, FIRST_CEILING_MS << min(failures, _DOUBLINGS))
    return math.floor(random * ceiling)
