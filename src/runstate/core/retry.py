"""Whether a command that brought no result is sent again (PROTOCOL C3), and when.

Law: only where its key makes that safe and another try may help: nobody answered, so whether it was taken is not known,
or a server said 503. Every other answer is final.
"""

from __future__ import annotations

from runstate.core.backoff import delay_ms

MOST_RETRIES = 3
LONGEST_RETRY_AFTER_MS = 10_000  # whoever waits for the command is told rather than kept longer
UNAVAILABLE = 503


def retry_in_ms(retries: int, *, status: int | None, retry_after_ms: int, random: float) -> int | None:
    """Return the wait before the next try, in milliseconds; None: the result stands.

    Args:
        retries: Made so far, from 0.
        status: Of the answer; None: there was none.
        retry_after_ms: The least wait, says the server; 0 where it did not say.
        random: Drawn evenly from [0, 1).
    """
    if status not in (None, UNAVAILABLE) or retries >= MOST_RETRIES or retry_after_ms > LONGEST_RETRY_AFTER_MS:
        return None
    return retry_after_ms + delay_ms(retries, random)
