"""The two ends of a terminal: consoles for people, bytes for programs, and log records on stderr.

Colours and bars only where a terminal shows them; NO_COLOR is respected (rich does both).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def console(*, err: bool = False) -> Console:
    """Return a console on stdout or stderr. What is shown is never markup: names and errors may hold brackets."""
    from rich.console import Console

    # Without a terminal nobody wraps: a line is a line, and 80 columns would cut what grep looks for.
    wide = None if (sys.stderr if err else sys.stdout).isatty() or "COLUMNS" in os.environ else 240
    return Console(stderr=err, markup=False, highlight=False, emoji=False, width=wide)


def show_page(page: RenderableType) -> None:
    """Print a page of the answer to stdout; without a terminal no line ends in blanks."""
    out = console()
    if out.is_terminal:
        out.print(page)
        return
    with out.capture() as captured:
        out.print(page)
    for line in captured.get().splitlines():
        print(line.rstrip())


def write_json(encoded: bytes) -> None:
    """Write one JSON document and an end of line to stdout, as these very bytes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(encoded + b"\n")
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Print a line of the answer to stdout, at once."""
    print(text, flush=True)


def tell(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def is_debugging() -> bool:
    """Return whether a person asked for tracebacks."""
    return os.environ.get("RUNSTATE_DEBUG", "") not in ("", "0")


class _Readable(logging.Formatter):
    """`warning: …`; tracebacks only for those who debug."""

    def format(self, record: logging.LogRecord) -> str:
        if not is_debugging():
            record.exc_info = record.exc_text = record.stack_info = None
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        shown = logging.makeLogRecord(record.__dict__ | {"msg": f"{level}{record.getMessage().strip()}", "args": None})
        return super().format(shown)


class _Told(logging.Handler):
    """Hands each record to a function as a line."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write
        self.setFormatter(_Readable())

    def emit(self, record: logging.LogRecord) -> None:
        self._write(self.format(record))


@contextmanager
def logging_to(write: Callable[[str], None], *, least: int = logging.INFO) -> Iterator[None]:
    """Show the log records of this program, but not those of the stages, for as long as the block lasts."""
    handler = _Told(write)
    level = logging.DEBUG if is_debugging() else least
    levels = {"runstate": level, "asyncio": logging.WARNING, "uvicorn": logging.WARNING}
    for name, lowest in levels.items():
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(lowest)
        logger.propagate = False  # else they would be taken for a stage's, or shown twice
    logging.getLogger().setLevel(logging.INFO)  # what async stages log goes into their runs' logs, from info on
    try:
        yield
    finally:
        for name in levels:
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).propagate = True
