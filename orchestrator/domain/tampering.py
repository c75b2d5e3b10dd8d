"""Which changes of an agent touch what judges it: tests, build files, CI, scripts of checks, and what users name.

Names decide, not content, and case matters for one alone: the same change gives the same answer everywhere. A change
*counts* when it altered something that was there before the agent came, or added what a judge loads by itself. A new
test or a new Makefile is ordinary work: it is shown and does not count. So is a new package manifest, unless it holds
settings of a judge.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import NamedTuple

from orchestrator.domain.judge_settings import configures_a_judge, is_manifest


class TamperPolicy(StrEnum):
    """What follows from changes that count: they are shown, fail the job, or are undone before the checks run."""

    REPORT = "report"
    FAIL = "fail"
    RESTORE = "restore"


class ChangeKind(StrEnum):
    """What a changed path is."""

    PROTECTED = "protected"  # named by the user
    CHECK = "check"  # named in the command of a check, or of setup, which runs before them
    CI = "ci"
    TEST = "test"
    BUILD = "build"


class ChangeStatus(StrEnum):
    """What happened to a path, in git's letters. TYPE: a file became a link, or the reverse."""

    ADDED = "A"
    MODIFIED = "M"
    DELETED = "D"
    TYPE = "T"


@dataclass(frozen=True, kw_only=True)
class Weakening:
    """Signs that tests became fewer or weaker, counted over one file's change; a sign is no proof."""

    tests_removed: int = 0
    skips_added: int = 0
    asserts_removed: int = 0


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change of the agent to what judges it.

    Lines are None for binary files; `weakening` is None for what was not looked into.
    """

    path: str
    kind: ChangeKind
    status: ChangeStatus
    counts: bool
    lines_added: int | None = None
    lines_removed: int | None = None
    weakening: Weakening | None = None


# Separated by spaces, as no glob of ours holds one.
_NAMES = {
    ChangeKind.CI: ".github .gitlab-ci.yml .gitlab .circleci .travis.yml azure-pipelines.yml Jenkinsfile .buildkite "
    ".drone.yml .woodpecker.yml .pre-commit-config.yaml .ci",
    ChangeKind.TEST: "tests test __tests__ testdata test_*.* *_test.* *_tests.* *_spec.* *.test.* *.spec.* "
    "test.* tests.* *Test.java *Tests.java *Test.kt *Tests.cs *Test.php *Spec.scala *Spec.kt *Spec.groovy *.t "
    "conftest.py spec_helper.rb __snapshots__ e2e cypress",
    ChangeKind.BUILD: "Makefile GNUmakefile *.mk CMakeLists.txt *.cmake configure configure.ac meson.build "
    "BUILD.bazel *.bzl build.gradle* settings.gradle* pom.xml build.xml pyproject.toml setup.py setup.cfg "
    "tox.ini noxfile.py pytest.ini .pytest.ini pytest.toml .pytest.toml "
    "requirements*.txt uv.lock poetry.lock package.json package-lock.json yarn.lock "
    "pnpm-lock.yaml tsconfig*.json jest.config.* vitest.config.* .mocharc* karma.conf* Cargo.toml Cargo.lock "
    "build.rs .cargo go.mod go.sum go.work Gemfile Gemfile.lock Rakefile *.gemspec composer.json phpunit.xml* "
    "mix.exs rebar.config *.csproj *.sln Directory.Build.* justfile Taskfile.y*ml Dockerfile .coveragerc "
    ".npmrc .yarnrc* vite.config.* babel.config.* .rspec .proverc .mvn mvnw gradlew gradle.properties .bazelrc "
    "sitecustomize.py usercustomize.py *.pth pytest.py pytest/__init__.py _pytest unittest.py unittest/__init__.py "
    "mypy.ini .mypy.ini ruff.toml .ruff.toml .flake8 pylintrc .pylintrc pyrightconfig.json .bandit .eslintrc* "
    "eslint.config.* .eslintignore .nycrc* .c8rc* .swcrc .babelrc* bunfig.toml deno.json* .golangci.* clippy.toml "
    ".clippy.toml",
}
_DEFAULTS = {kind: tuple(names.split()) for kind, names in _NAMES.items()}
# Loaded without being asked for, and able to change what every test says.
_UNASKED = (
    "conftest.py pytest.ini .pytest.ini pytest.toml .pytest.toml tox.ini setup.cfg sitecustomize.py usercustomize.py "
    "*.pth pytest.py pytest/__init__.py _pytest unittest.py unittest/__init__.py GNUmakefile jest.config.* "
    "vitest.config.* .mocharc* .npmrc .proverc maven.config jvm.config .cargo .coveragerc mypy.ini .mypy.ini "
    "ruff.toml .ruff.toml .flake8 pylintrc .pylintrc pyrightconfig.json .bandit .eslintrc* eslint.config.* "
    ".eslintignore .nycrc* .c8rc* .rspec phpunit.xml* bunfig.toml deno.json* .golangci.* clippy.toml .clippy.toml "
    ".bazelrc .yarnrc* go.work Directory.Build.*"
)
_LOADED_UNASKED = tuple(_UNASKED.split())
# The one name whose case matters: make reads it before the `Makefile` that everybody has.
_BEFORE_MAKEFILE = "makefile"


def check_glob(value: str) -> str:
    """A glob as users give it. Raises ValueError."""
    parts = value.rstrip("/").split("/")
    if not all(parts) or value.startswith(("!", "-")) or not {".", ".."}.isdisjoint(parts):
        raise ValueError("a glob of paths inside the repository, like 'tests/**' or '*.golden'")
    return value


def matches(path: str, *globs: str) -> bool:
    """Whether a glob names a path or a folder above it. Without a slash it does so at any depth."""
    names, patterns, whole = _sorted_out(globs)
    folded = path.casefold()
    parts = folded.split("/")
    if not names.isdisjoint(parts) or (whole is not None and whole.match(folded)):
        return True
    return patterns is not None and any(patterns.match(part) for part in parts)


class _Globs(NamedTuple):
    """Names of files and folders, patterns of such names, and patterns of paths: an agent may have changed a hundred
    thousand files, and most globs are just names."""

    names: frozenset[str]
    patterns: re.Pattern[str] | None
    whole: re.Pattern[str] | None


@cache
def _sorted_out(globs: tuple[str, ...]) -> _Globs:
    # What takes the place of a whole folder, such as a link, is meant as well.
    texts = [glob.casefold().rstrip("/").removesuffix("/**") for glob in globs]
    paths = [text for text in texts if "/" in text]
    wild = [text for text in texts if text not in paths and ("*" in text or "?" in text)]
    return _Globs(
        names=frozenset(texts) - {*paths, *wild},
        patterns=_one_of(wild, r"\Z"),
        whole=_one_of(paths, r"(?:/|\Z)"),
    )


def _one_of(texts: Sequence[str], end: str) -> re.Pattern[str] | None:
    return re.compile(f"(?:{'|'.join(map(_body, texts))}){end}", re.DOTALL) if texts else None


def _body(text: str) -> str:
    table = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(table.get(part) or re.escape(part) for part in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", text))


def named_in(commands: Iterable[str]) -> frozenset[str]:
    """What could be paths in shell commands, as paths from the root of the checkout, for `kind_of`."""
    return frozenset(word.casefold() for command in commands for word in _paths_in(command))


def _paths_in(command: str) -> Iterator[str]:
    words = [_HERE.sub("", word) for word in re.split(r"[\s'\"`;&|<>()=]+", command)]
    folders = ["", *(after for word, after in pairwise(words) if word == "cd")]
    for before, word in pairwise(["", *words]):
        if before == "-m":  # a module of Python's
            word = f"{word.replace('.', '/')}.py"
        if word and not word.startswith(("-", "/")):
            yield from (posixpath.normpath(f"{folder}/{word.partition('::')[0]}").lstrip("/") for folder in folders)


def kind_of(path: str, protected: Sequence[str] = (), commands: frozenset[str] = frozenset()) -> ChangeKind | None:
    """What a path is to those who judge; None for the agent's own business."""
    if matches(path, *protected):
        return ChangeKind.PROTECTED
    if path.casefold() in commands:
        return ChangeKind.CHECK
    return next((kind for kind, globs in _DEFAULTS.items() if matches(path, *globs)), None)


def counts(path: str, kind: ChangeKind, status: ChangeStatus, added: Sequence[str] | None = None) -> bool:
    """Whether a change alters how the work is judged, and not only adds to it.

    `added` are the lines of a new file, None when nobody has looked: of package manifests they decide.
    """
    if status is not ChangeStatus.ADDED or kind is ChangeKind.PROTECTED:
        return True
    if is_manifest(path):
        return configures_a_judge(path, added)
    return matches(path, *_LOADED_UNASKED) or path.rpartition("/")[2] == _BEFORE_MAKEFILE


# The root of the checkout, where every check begins.
_HERE = re.compile(r"^(?:\$PWD|\$\{PWD\})/")
_TEST = re.compile(
    r"^\s*(?:async\s+)?def test|^\s*func (?:Test|Fuzz)[A-Z_]|#\[(?:\w+::)?test\b|@Test\b|@ParameterizedTest\b"
    r"|^\s*(?:it|test)(?:\.\w+)?\s*\(|\bTEST(?:_F|_P)?\s*\("
)
_SKIP = re.compile(
    r"\bmark\.(?:skip|skipif|xfail)\b|\bpytest\.(?:skip|xfail|importorskip)\(|\bunittest\.(?:skip|expectedFailure)"
    r"|\.skipTest\(|\b[tb]\.Skip(?:Now|f)?\(|\b(?:it|test|describe)\.(?:skip|todo)\b|\bx(?:it|describe)\s*\("
    r"|@(?:Ignore|Disabled)\b|#\[ignore\b|\bGTEST_SKIP\b|\bDISABLED_\w"
)
_ASSERT = re.compile(
    r"\bassert|\bexpect\s*\(|\b(?:EXPECT|ASSERT|CHECK|REQUIRE)(?:_\w+)?\s*\(|\b[tb]\.(?:Error|Fatal)f?\("
    r"|\b(?:require|should)\.\w+"
)


def weakening(diff_lines: Iterable[str]) -> Weakening:
    """The signs in one file's changed lines, each with its `+` or `-` in front."""
    lost = {_TEST: 0, _SKIP: 0, _ASSERT: 0}
    for line in diff_lines:
        for pattern in lost:
            if pattern.search(line[1:]):
                lost[pattern] += 1 if line.startswith("-") else -1
    return Weakening(
        tests_removed=max(0, lost[_TEST]), skips_added=max(0, -lost[_SKIP]), asserts_removed=max(0, lost[_ASSERT])
    )
