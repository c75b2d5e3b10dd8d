"""Which changes touch what judges the work, by name alone, and which of them count."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.tampering import (
    ChangeKind,
    ChangeStatus,
    Weakening,
    check_glob,
    counts,
    kind_of,
    matches,
    named_in,
    weakening,
)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("tests/test_a.py", "test"),
        ("src/deep/tests/data/golden.json", "test"),
        ("Tests/A.PY", "test"),
        ("tests", "test"),  # a link in the folder's place
        ("pkg/shape_test.go", "test"),
        ("src/app.test.tsx", "test"),
        ("a/ShapesTest.java", "test"),
        ("conftest.py", "test"),
        ("t/basic.t", "test"),
        ("tests/with\nnewline.py", "test"),
        ("Makefile", "build"),
        ("sub/makefile", "build"),
        ("CMakeLists.txt", "build"),
        ("pyproject.toml", "build"),
        (".pytest.ini", "build"),
        ("pytest/__init__.py", "build"),
        ("docs/pytest/__init__.py", None),
        ("shop/tests.py", "test"),
        ("lib/test.js", "test"),
        ("a/shape_spec.ts", "test"),
        ("package.json", "build"),
        ("a/b/tsconfig.base.json", "build"),
        (".github/workflows/ci.yml", "ci"),
        (".GITHUB/workflows/ci.yml", "ci"),
        (".github/tests/x.py", "ci"),
        ("src/shapes.py", None),
        ("docs/testing.md", None),
        ("src/contest.py", None),
        ("latest/thing.py", None),
        ("build/out.o", None),
    ],
)
def test_well_known_names(path: str, kind: str | None) -> None:
    assert kind_of(path) == (ChangeKind(kind) if kind else None)


def test_what_users_and_commands_name_comes_first() -> None:
    commands = named_in(["./ci/run.sh --fast && python3 tools/grade.py 'a b.txt' > /dev/null", "make -C sub check"])
    protected = ["golden/**", "*.snap", "api/v?.json"]
    assert {
        path: kind_of(path, protected, commands)
        for path in (
            "ci/run.sh",
            "tools/grade.py",
            "Tools/Grade.py",
            "golden/a/b",
            "x/y.snap",
            "api/v1.json",
            "api/v10.json",
        )
    } == {
        "ci/run.sh": ChangeKind.CHECK,
        "tools/grade.py": ChangeKind.CHECK,
        "Tools/Grade.py": ChangeKind.CHECK,
        "golden/a/b": ChangeKind.PROTECTED,
        "x/y.snap": ChangeKind.PROTECTED,
        "api/v1.json": ChangeKind.PROTECTED,
        "api/v10.json": None,
    }


@pytest.mark.parametrize(
    ("glob", "path", "fits"),
    [
        ("a/b", "a/b/c", True),
        ("a/b", "x/a/b", False),
        ("b", "a/b/c", True),
        ("**/b", "a/x/b", True),
        ("a/**/z", "a/z", True),
        ("a/**", "a", True),
        ("a/**/z", "a/b/c/z", True),
        ("a/*/z", "a/b/c/z", False),
        ("*.py", "a/b.py", True),
        ("a.c", "abc", False),
        ("docs/", "docs/x", True),
        ("a\nb", "a\nb", True),
    ],
)
def test_globs(glob: str, path: str, fits: bool) -> None:
    assert matches(path, glob) is fits


@pytest.mark.parametrize("bad", ["", "/", "/etc/passwd", "../x", "a/../b", "!x", "-x", "./a", "a/./b", "a//b"])
def test_globs_stay_inside(bad: str) -> None:
    with pytest.raises(ValueError, match="a glob of paths inside"):
        check_glob(bad)


def test_adding_is_work_and_altering_counts() -> None:
    added, deleted = ChangeStatus.ADDED, ChangeStatus.DELETED
    assert not counts("tests/test_new.py", ChangeKind.TEST, added)
    assert not counts("Makefile", ChangeKind.BUILD, added)
    assert counts("tests/test_old.py", ChangeKind.TEST, deleted)
    assert counts("golden/new", ChangeKind.PROTECTED, added)
    assert all(counts(path, ChangeKind.BUILD, added) for path in ("a/sitecustomize.py", "x.pth", "GNUmakefile"))
    assert counts("tests/conftest.py", ChangeKind.TEST, added)
    assert counts("makefile", ChangeKind.BUILD, added), "make reads it before the Makefile that was there"
    assert all(
        counts(path, ChangeKind.BUILD, added) for path in (".pytest.ini", "tox.ini", "pytest.py", "unittest.py")
    )


@pytest.mark.parametrize(
    ("path", "text", "counting"),
    [
        ("pyproject.toml", "", False),
        ("pyproject.toml", '[project]\nname = "x"\n[tool.setuptools]\npackages = []\n', False),
        ("pyproject.toml", '[tool.pytest.ini_options]\naddopts = "--co"\n', True),
        ("pyproject.toml", 'tool."py\\u0074est".ini_options.addopts = "--co"\n', True),
        ("sub/pyproject.toml", '[tool]\nruff = {exclude = ["*"]}\n', True),
        ("pyproject.toml", 'tool = "none"\n', True),
        ("pyproject.toml", "[tool.pytest\n", True),
        ("PYPROJECT.toml", "[tool.coverage.run]\n", True),
        ("package.json", '{"name": "x", "scripts": {"test": "node --test"}}', False),
        ("package.json", '{"name": "x", "jest": {"testMatch": []}}', True),
        ("package.json", '["jest"]', True),
        ("package.json", "[" * 100_000, True),
        ("mypy.ini", "", True),
        (".eslintrc.json", "{}", True),
        ("tests/test_new.py", "", False),
        ("tsconfig.json", "{}", False),
        ("Cargo.toml", "", False),
    ],
)
def test_a_new_file_counts_when_it_configures_a_judge(path: str, text: str, counting: bool) -> None:
    kind = kind_of(path)
    assert kind is not None
    assert counts(path, kind, ChangeStatus.ADDED, text.split("\n")) is counting
    assert counts(path, kind, ChangeStatus.MODIFIED, text.split("\n"))


def test_a_new_manifest_that_nobody_looked_into_counts() -> None:
    assert counts("pyproject.toml", ChangeKind.BUILD, ChangeStatus.ADDED)
    assert counts("web/package.json", ChangeKind.BUILD, ChangeStatus.ADDED)


@settings(max_examples=40)
@given(st.text(max_size=40), st.sampled_from(["pyproject.toml", "package.json"]))
def test_any_content_of_a_manifest_gets_an_answer(text: str, name: str) -> None:
    assert counts(name, ChangeKind.BUILD, ChangeStatus.ADDED, text.split("\n")) in (True, False)


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("././ci//grade.sh", "ci/grade.sh"),
        ("sh ci/../grade.sh", "grade.sh"),
        ("cd ci && ./grade.sh", "ci/grade.sh"),
        ("(cd ci/deep; sh ../grade.sh)", "ci/grade.sh"),
        ("cd ci && sh ../grade.sh", "grade.sh"),
        ("bash $PWD/ci/grade.sh", "ci/grade.sh"),
        ('bash "${PWD}/ci/grade.sh"', "ci/grade.sh"),
        ("python -m tools.grade --all", "tools/grade.py"),
        ("pytest checks/shapes.py::Shapes::area", "checks/shapes.py"),
    ],
)
def test_a_script_is_named_however_a_command_spells_it(command: str, path: str) -> None:
    assert kind_of(path, (), named_in([command])) is ChangeKind.CHECK


_WEAKER = """\
-def test_one():
-    assert area(2) == 4
-    assert area(3) == 9
+@pytest.mark.skip(reason="flaky")
+def test_two():
+    assert True
-func TestArea(t *testing.T) {
-	t.Errorf("no")
+	t.Skip()
+it.skip('adds', () => {
-it('adds', () => {
-  expect(1).toBe(1)
"""


def test_signs_of_weaker_tests() -> None:
    lines = _WEAKER.splitlines()
    assert weakening(lines) == Weakening(tests_removed=1, skips_added=3, asserts_removed=3)
    assert weakening([]) == Weakening()


@given(st.lists(st.text(max_size=60)))
def test_turning_a_change_round_finds_nothing_twice(lines: list[str]) -> None:
    there, back = weakening([f"-{line}" for line in lines]), weakening([f"+{line}" for line in lines])
    assert not (there.tests_removed and back.tests_removed)
    assert weakening([f"{sign}{line}" for line in lines for sign in "+-"]) == Weakening()


@given(st.text(max_size=50), st.lists(st.text(alphabet="ab*?/.", min_size=1, max_size=8), max_size=4))
def test_case_never_matters(path: str, globs: list[str]) -> None:
    assert kind_of(path, globs) == kind_of(path.casefold(), globs)
