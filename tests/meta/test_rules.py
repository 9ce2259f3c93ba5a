"""The numbered rules of docs/protocol.md, the places in the code that cite them, and the tests that hold them.

docs/protocol.md has each rule as an item that begins with its number in bold (`- **V1** …`), and one table

    | rule | test |
    | --- | --- |
    | V1 | `tests/journal/test_epoch.py` `web/packages/client/test/replica.test.ts` |

A Python file named there has a test with `@pytest.mark.rule("V1")`; another file, such as a test in TypeScript or a case
in `conformance/`, has the number in its text. Every rule has one at least; `make rules` writes the rows.
"""

from __future__ import annotations

import ast
import re

from tests.meta.tree import ROOT, files, place

PROTOCOL = ROOT / "docs" / "protocol.md"
NUMBER = r"[CDFHV]\d+"
CITED = re.compile(rf"PROTOCOL ((?:{NUMBER})(?:(?:, | and |–|-)(?:{NUMBER}))*)")


def rules() -> set[str] | None:
    """Return the numbers of the rules, None as long as they are not written down."""
    if not PROTOCOL.exists():
        return None
    return set(re.findall(rf"^[-*] \*\*({NUMBER})\*\*", PROTOCOL.read_text(), re.MULTILINE))


def table() -> list[tuple[str, str]]:
    """Return rule and cell of each row."""
    return re.findall(rf"^\| ({NUMBER}) \| (.*?) \|$", PROTOCOL.read_text(), re.MULTILINE) if PROTOCOL.exists() else []


def marked(source: str) -> set[str]:
    """Return the rules that the tests of a Python file are marked with."""
    return {
        argument.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.rule"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }


def holders() -> dict[str, list[str]]:
    """Return the files that hold each rule, by the marks of Python tests and the `rule` members of conformance cases."""
    found: dict[str, list[str]] = {}
    for path in files(".py", under="tests/"):
        for rule in marked(path.read_text()):
            found.setdefault(rule, []).append(place(path))
    for path in files(".json", under="conformance/"):
        for rule in set(re.findall(rf'"rule": "({NUMBER})"', path.read_text())):
            found.setdefault(rule, []).append(place(path))
    return found


def test_every_cited_rule_exists():
    known = rules()
    unknown = [
        f"{place(path)}: {number}"
        for path in files(".py", ".sql", ".ts", ".tsx")
        for cited in CITED.findall(path.read_text())
        for number in re.findall(NUMBER, cited)
        if known is not None and number not in known
    ]

    assert unknown == [], "\n".join(unknown)


def rows() -> list[str]:
    """Return the rows of the table, as the tests are marked now."""
    held = holders()
    known = sorted(rules() or [], key=lambda rule: (rule[0], int(rule[1:])))
    return [f"| {rule} | {' '.join(f'`{name}`' for name in sorted(held.get(rule, [])))} |" for rule in known]


def write_table() -> None:
    """Write the rows into docs/protocol.md; `make rules`."""
    text = PROTOCOL.read_text()
    head = "| rule | test |\n| --- | --- |\n"
    PROTOCOL.write_text(text[: text.index(head) + len(head)] + "\n".join(rows()) + "\n")


def test_every_rule_stands_in_the_table_once():
    assert sorted(rule for rule, _ in table()) == sorted(rules() or []), "run `make rules`"


def test_every_rule_has_the_tests_that_the_table_names():
    missing = []
    for rule, cell in table():
        named = re.findall(r"`([^`]+)`", cell)
        if not named:
            missing.append(f"{rule}: the table names no file; is there no test with @pytest.mark.rule({rule!r})?")
        for name in named:
            path = ROOT / name
            if not path.is_file():
                missing.append(f"{rule}: there is no {name}")
            elif name.endswith(".py") and rule not in marked(path.read_text()):
                missing.append(f'{rule}: {name} has no test with @pytest.mark.rule("{rule}")')
            elif not name.endswith(".py") and not re.search(rf"\b{rule}\b", path.read_text()):
                missing.append(f"{rule}: {name} does not say {rule}")

    assert missing == [], "\n".join(missing)


def test_every_marked_test_stands_in_the_table():
    named = dict(table())
    absent = [
        f"{rule}: {name}"
        for rule, names in sorted(holders().items())
        for name in names
        if named and f"`{name}`" not in named.get(rule, "")
    ]

    assert absent == [], "\n".join(absent)


if __name__ == "__main__":
    write_table()
