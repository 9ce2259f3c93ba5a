"""A file is read in one sitting: about 300 lines. Where one is longer, its head says why ("Longer than … because …")."""

from __future__ import annotations

from tests.meta.tree import files, place

LIMIT = 320
HEAD = 25


def test_files_are_short_or_say_why_not():
    too_long = []
    for path in files(".py", ".sql", ".sh", ".ts", ".tsx"):
        lines = path.read_text().splitlines()
        if len(lines) > LIMIT and "longer than" not in "\n".join(lines[:HEAD]).lower():
            too_long.append(f"{place(path)}: {len(lines)} lines")

    assert too_long == [], "\n".join(["split these, or say in the head why they are longer:", *too_long])
