"""What the documents tell people to type works: every command, every option, every make target."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.meta.tree import ROOT, commands_in, files, place

TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


@cache
def help_of(*words: str) -> str | None:
    """Return the help of a command of ours, None if there is no such command."""
    program = Path(sys.executable).with_name("runstate")
    plain = os.environ | {"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, env=plain, check=False)
    return done.stdout if done.returncode == 0 else None


def test_every_command_and_option_in_the_documents_exists():
    wrong = []
    for path in files(".md"):
        for words in commands_in(path.read_text(), "runstate"):
            # An argument after the command, such as a pipeline's name, does no harm before --help.
            shown = help_of(*(word for word in words[:2] if re.fullmatch("[a-z][a-z-]*", word)))
            options = [word.split("=")[0].strip("[]") for word in words if re.match(r"\[?--[a-z]", word)]
            if shown is None:
                wrong.append(f"{place(path)}: runstate {' '.join(words)}")
            else:
                wrong += [f"{place(path)}: runstate {words[0]} {option}" for option in options if option not in shown]

    assert wrong == [], "\n".join(wrong)


def test_every_make_target_in_the_documents_exists():
    targets = TARGET.findall((ROOT / "Makefile").read_text())

    named = {
        f"{place(path)}: make {words[0]}": words[0]
        for path in files(".md")
        for words in commands_in(path.read_text(), "make")
        if re.fullmatch("[a-z-]+", words[0])
    }

    assert [where for where, target in named.items() if target not in targets] == []


def test_every_make_target_has_its_line_of_help():
    makefile = (ROOT / "Makefile").read_text()
    explained = re.findall(r"^([a-z][a-z-]*):.* ## ", makefile, re.MULTILINE)

    assert {"demo", "test", "help"} <= set(explained)
    assert [target for target in TARGET.findall(makefile) if target not in explained] == []


def test_every_make_target_is_made_whenever_it_is_asked_for():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)

    assert phony is not None
    assert set(phony[1].split()) == set(TARGET.findall(makefile))
