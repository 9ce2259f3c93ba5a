"""The files of the project, as git sees them, or as they lie where there is no git (a source distribution)."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MADE = {".git", ".hypothesis", ".mypy_cache", ".ruff_cache", ".uv", ".venv", "__pycache__", "dist", "node_modules"}


def git(*options: str) -> list[str] | None:
    """Return what `git ls-files` lists, None where there is no git."""
    if not (ROOT / ".git").exists():
        return None
    done = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, check=False, capture_output=True, text=True)
    return [name for name in done.stdout.split("\0") if name] if done.returncode == 0 else None


@cache
def files(*suffixes: str, under: str = "") -> tuple[Path, ...]:
    """Return the project's files below `under` with one of `suffixes` (none: all), not what make and runs have made."""
    listed = git("--cached", "--others", "--exclude-standard")
    if listed is None:
        listed = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if not MADE & set(path.parts)]
    return tuple(
        ROOT / name
        for name in sorted(set(listed))
        if name.startswith(under) and (ROOT / name).is_file() and (not suffixes or name.endswith(suffixes))
    )


def place(path: Path) -> str:
    """Return the path as a person writes it."""
    return path.relative_to(ROOT).as_posix()


def code_in(markdown: str) -> list[str]:
    """Return the lines of the code blocks and the code spans of a text."""
    lines: list[str] = []
    for block in re.findall(r"^```.*?\n(.*?)^```", markdown, re.MULTILINE | re.DOTALL):
        lines += block.splitlines()
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return lines + re.findall(r"`([^`\n]+)`", prose)


def commands_in(markdown: str, program: str) -> list[list[str]]:
    """Return the words of every call of `program` that a text shows, without the program itself."""
    start = re.compile(rf"^(?:\$ )?(?:[A-Z_]+=\S* )*(?:\.venv/bin/)?{program} (.+)$")
    parts = (part.strip() for line in code_in(markdown) for part in re.split(r"&&|;|\|\|?|  +#", line))
    return [found[1].split() for part in parts if (found := start.match(part))]
