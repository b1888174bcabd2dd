"""Is the house in order: docstrings, no skipped test, nothing of one machine in the repository?"""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
ONLY_SKIPPER = ROOT / "tests" / "support" / "requires.py"

REGISTRIES = re.compile(
    r"(?:pypi|pythonhosted|npmjs|yarnpkg)\.(?:org|com)\b|\brepo1?\.maven\b|\bproxy\.golang\b|\bcrates\.io\b"
    r"|--(?:extra-)?index[-]url\s+\S|--find[-]links\s+\S",
    re.IGNORECASE,
)
SOMEBODYS_FOLDER = re.compile(r"(?<![\w.])/(?:home|Users)/\w[\w.-]*/|\b[A-Z]:\\Users\\", re.ASCII)
TOO_COMMON = {"/", "/app", "/home", "/mnt", "/opt", "/root", "/src", "/srv", "/tmp", "/usr/src", "/var/tmp"}  # noqa: S108


def committed_files() -> list[Path]:
    """Every file that git tracks or would add."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def machine_paths(root: Path) -> re.Pattern[str]:
    """What only means something on the machine where the checkout lies in `root`."""
    own = [str(path) for path in (root, root.parent) if str(path) not in TOO_COMMON]
    exact = [rf"(?<![\w.-]){re.escape(path)}(?![\w-])" for path in own]
    return re.compile("|".join([*exact, SOMEBODYS_FOLDER.pattern]), re.ASCII)


def findings(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The lines of `text` where `pattern` occurs, with their numbers."""
    return [
        f"{number}: {line[:120]}" for number, line in enumerate(text.splitlines(), 1) if pattern.search(line)
    ]


def in_files(pattern: re.Pattern[str]) -> list[str]:
    """Where `pattern` occurs in the text files of the repository."""
    found = []
    for path in committed_files():
        content = path.read_bytes()
        if b"\0" not in content:
            text = content.decode(errors="replace")
            found += [f"{path.relative_to(ROOT)}:{line}" for line in findings(text, pattern)]
    return found


def modules(*folders: str) -> list[Path]:
    """The Python files under `folders`."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Names of public modules, classes, functions and methods without a docstring.

    What lies inside a function, an overload's signature and a property's setter need none.
    """
    if not ast.get_docstring(tree):
        yield "the module"

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in body:
            if isinstance(node, ast.If | ast.Try):
                yield from walk([*node.body, *node.orelse], prefix)
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            if node.name.startswith("_") or decorators & {"overload", "setter", "override"}:
                continue
            if not ast.get_docstring(node):
                yield f"{prefix}{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")

    yield from walk(tree.body, "")


def skips(tree: ast.Module) -> Iterator[int]:
    """Lines on which a test is skipped or expected to fail."""
    forbidden = {"skip", "skipif", "skipIf", "skipUnless", "xfail", "expectedFailure", "importorskip"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in forbidden:
            if ast.unparse(node.value) in {"pytest", "pytest.mark", "mark", "unittest"}:
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module in {"pytest", "unittest"}:
            if forbidden & {alias.name for alias in node.names}:
                yield node.lineno
        elif isinstance(node, ast.Attribute | ast.Name) and ast.unparse(node).endswith("SkipTest"):
            yield node.lineno


def imports(tree: ast.Module) -> set[str]:
    """The top-level names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(), filename=str(path))


def test_nothing_names_the_machine_it_was_written_on() -> None:
    assert in_files(machine_paths(ROOT)) == []


def test_nothing_names_a_package_registry() -> None:
    assert in_files(REGISTRIES) == []


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("see /build/site-7/heard/README.md", machine_paths(Path("/build/site-7/heard"))),
        ("see /build/site-7", machine_paths(Path("/build/site-7/heard"))),
        ("/".join(["", "home", "someone", "x"]), machine_paths(Path("/tmp/heard"))),  # noqa: S108
        ("https://" + ".".join(["files", "pythonhosted", "org"]) + "/x", REGISTRIES),
        ("--" + "-".join(["index", "url"]) + " https://mirror.example/simple", REGISTRIES),
    ],
)
def test_a_planted_path_or_host_is_found(text: str, pattern: re.Pattern[str]) -> None:
    assert findings(text, pattern)


@pytest.mark.parametrize("text", ["/build/site-70", "over/build/site-7/heard", "/tmp/x"])  # noqa: S108
def test_a_like_looking_path_is_let_be(text: str) -> None:
    assert findings(text, machine_paths(Path("/build/site-7/heard"))) == []


def test_the_rooms_are_all_the_packages_there_are() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == set(ROOMS) == set(PROJECT["tool"]["uv"]["build-backend"]["module-name"])


def test_everything_public_in_the_rooms_says_what_it_is() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {name}" for path in modules(*ROOMS) for name in undocumented(parse(path))
    ]
    assert found == []


def test_a_missing_docstring_is_found() -> None:
    source = (
        "class A:\n def b(self): ...\n def _c(self): ...\n"
        "def d():\n 'It is.'\n def e(): ...\nif True:\n async def f(): ...\n"
    )
    assert list(undocumented(ast.parse(source))) == ["the module", "A", "A.b", "f"]


def test_only_one_helper_may_skip_a_test() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in modules("tests")
        if path != ONLY_SKIPPER
        for line in skips(parse(path))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pytest\npytest.skip('later')",
        "import pytest\n@pytest.mark.xfail\ndef test(): ...",
        "import pytest\nx = pytest.importorskip('x')",
        "from pytest import skip",
        "import unittest\nraise unittest.SkipTest",
    ],
)
def test_a_skip_is_found(source: str) -> None:
    assert list(skips(ast.parse(source)))


def test_no_unit_test_opens_a_socket() -> None:
    assert [path.name for path in modules("tests/unit") if "socket" in imports(parse(path))] == []


@pytest.mark.parametrize("source", ["import socket", "def test():\n from socket import create_connection"])
def test_an_imported_socket_is_found(source: str) -> None:
    assert "socket" in imports(ast.parse(source))


def test_the_lock_has_a_hashed_pin_for_each_requirement() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    entries = re.findall(r"^([a-z0-9][a-z0-9.-]*)==(\S+)(.*(?:\n .*)*)", lock, re.MULTILINE)
    assert [name for name, _, rest in entries if "--hash=sha256:" not in rest] == []
    pins = {name: version for name, version, _ in entries}
    wanted = [
        Requirement(line)
        for line in (
            *PROJECT["project"]["dependencies"],
            *PROJECT["dependency-groups"]["dev"],
            *PROJECT["build-system"]["requires"],
        )
    ]
    found = [
        str(requirement)
        for requirement in wanted
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]
    assert found == [], "next: make lock"
