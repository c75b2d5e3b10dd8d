"""Which changes of an agent touch what judges it: tests, build files, CI, scripts of checks, and what users name.

Names decide, not content, and case never matters: the same change gives the same answer on every machine. A change
*counts* when it altered something that was there before the agent came, or when it added what a test runner loads by
itself. A new test or a new Makefile is ordinary work: it is shown and does not count.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache


class TamperPolicy(StrEnum):
    """What follows from changes that count: they are shown, fail the job, or are undone before the checks run."""

    REPORT = "report"
    FAIL = "fail"
    RESTORE = "restore"


class ChangeKind(StrEnum):
    """What a changed path is."""

    PROTECTED = "protected"  # named by the user
    CHECK = "check"  # named in a check's command
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
    ChangeKind.TEST: "tests test __tests__ testdata test_*.* *_test.* *_tests.* *_spec.rb *.test.* *.spec.* "
    "*Test.java *Tests.java *Test.kt *Tests.cs *Test.php *.t conftest.py",
    ChangeKind.BUILD: "Makefile GNUmakefile *.mk CMakeLists.txt *.cmake configure configure.ac meson.build "
    "BUILD.bazel *.bzl build.gradle* settings.gradle* pom.xml build.xml pyproject.toml setup.py setup.cfg "
    "tox.ini noxfile.py pytest.ini requirements*.txt uv.lock poetry.lock package.json package-lock.json yarn.lock "
    "pnpm-lock.yaml tsconfig*.json jest.config.* vitest.config.* .mocharc* karma.conf* Cargo.toml Cargo.lock "
    "build.rs .cargo go.mod go.sum go.work Gemfile Gemfile.lock Rakefile *.gemspec composer.json phpunit.xml* "
    "mix.exs rebar.config *.csproj *.sln Directory.Build.* justfile Taskfile.y*ml Dockerfile .coveragerc "
    "sitecustomize.py usercustomize.py *.pth",
}
_DEFAULTS = {kind: tuple(names.split()) for kind, names in _NAMES.items()}
# Loaded without being asked for, and able to change what every test says.
_UNASKED = "conftest.py pytest.ini sitecustomize.py usercustomize.py *.pth GNUmakefile jest.config.* vitest.config.* "
_LOADED_UNASKED = (*_UNASKED.split(), ".mocharc*")


def check_glob(value: str) -> str:
    """A glob as users give it. Raises ValueError."""
    if not value.strip("/") or value.startswith(("/", "!", "-")) or ".." in value.split("/"):
        raise ValueError("a glob of paths inside the repository, like 'tests/**' or '*.golden'")
    return value


def matches(glob: str, path: str) -> bool:
    """Whether a glob names a path or a folder above it. Without a slash it does so at any depth."""
    return _pattern(glob).match(path.casefold()) is not None


@cache
def _pattern(glob: str) -> re.Pattern[str]:
    # What takes the place of a whole folder, such as a link, is meant as well.
    text = glob.casefold().rstrip("/").removesuffix("/**")
    anchor = "" if "/" in text else "(?:.*/)?"
    return re.compile(f"{anchor}{_body(text)}(?:/.*)?\\Z", re.DOTALL)


def _body(text: str) -> str:
    table = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(table.get(part) or re.escape(part) for part in re.findall(r"\*\*/|\*\*|\*|\?|[^*?]+", text))


def named_in(commands: Iterable[str]) -> frozenset[str]:
    """What could be paths in shell commands, as paths from the root of the checkout, for `kind_of`."""
    words = (word for command in commands for word in re.split(r"[\s'\"`;&|<>()=]+", command))
    return frozenset(word.removeprefix("./").casefold() for word in words if word and not word.startswith(("-", "/")))


def kind_of(path: str, protected: Sequence[str] = (), commands: frozenset[str] = frozenset()) -> ChangeKind | None:
    """What a path is to those who judge; None for the agent's own business."""
    if any(matches(glob, path) for glob in protected):
        return ChangeKind.PROTECTED
    if path.casefold() in commands:
        return ChangeKind.CHECK
    return next((kind for kind, globs in _DEFAULTS.items() if any(matches(glob, path) for glob in globs)), None)


def counts(path: str, kind: ChangeKind, status: ChangeStatus) -> bool:
    """Whether a change alters how the work is judged, and not only adds to it."""
    if status is not ChangeStatus.ADDED or kind is ChangeKind.PROTECTED:
        return True
    return any(matches(glob, path) for glob in _LOADED_UNASKED)


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
