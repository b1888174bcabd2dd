"""Does every error end the program with the exit code that the reference gives it?"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from domain.errors import RETRIED, HeardError
from infra.errors import ENVIRONMENT, EXIT_CODES, FINDING, USAGE, exit_code

ROOT: Final = Path(__file__).resolve().parents[3]
ROOMS: Final = ("domain", "projections", "services", "consumers", "infra")
MIGRATIONS: Final = ROOT / "infra" / "migrations"  # run by alembic, not imported
FILES: Final = [
    path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if MIGRATIONS not in path.parents
]
NEVER_OUTSIDE: Final = "–"


def kinds(of: type[HeardError] = HeardError) -> Iterator[type[HeardError]]:
    """Every kind of error that some file of ours defines."""
    if of is HeardError:
        for path in FILES:
            parts = path.relative_to(ROOT).with_suffix("").parts
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    yield of
    for kind in of.__subclasses__():
        if kind.__module__.partition(".")[0] in ROOMS:
            yield from kinds(kind)


KINDS: Final = {kind.__name__: kind for kind in kinds()}


def raised() -> dict[str, set[int]]:
    """{code: the exit codes of the kinds that carry it}, by class or where one is raised."""
    found: dict[str, set[int]] = {}
    for kind in KINDS.values():
        found.setdefault(kind.code, set()).add(exits(kind))
    for path in FILES:
        for call in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in KINDS):
                continue
            for given in call.keywords:
                if given.arg == "code" and isinstance(given.value, ast.Constant):
                    found.setdefault(str(given.value.value), set()).add(exits(KINDS[call.func.id]))
    return found


def exits(kind: type[HeardError]) -> int:
    """The exit code of one of this kind."""
    return exit_code(kind.__new__(kind))


def documented() -> dict[str, str]:
    """The reference's error codes with their exit codes."""
    page = (ROOT / "docs" / "reference.md").read_text()
    table = page.partition("\n## Error codes\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", table, re.MULTILINE))


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind is not HeardError])
def test_every_kind_of_error_has_its_place_in_the_table(kind: type[HeardError]) -> None:
    nearest = next(each for each in kind.__mro__ if each in EXIT_CODES)
    assert nearest is not HeardError
    assert EXIT_CODES[nearest] in (FINDING, USAGE, ENVIRONMENT)


@pytest.mark.parametrize("code", documented())
def test_the_reference_gives_the_exit_code_that_it_has(code: str) -> None:
    expected = documented()[code]
    if expected != NEVER_OUTSIDE:
        assert raised()[code] == {int(expected)}


def test_what_is_tried_again_is_the_environment_s_fault_and_no_finding() -> None:
    assert {exits(kind) for kind in RETRIED} == {ENVIRONMENT}
    assert [code for code, exit_ in documented().items() if exit_ == NEVER_OUTSIDE] == ["unseen"]
