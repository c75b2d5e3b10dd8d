"""Reading and writing single files in a tree whose owner set traps: rights taken away, links, pipes."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from workers.worktrees.inside import Outside, read_inside, remove_inside, write_inside

NOBODY = 65534


def as_nobody(folder: Path, work: Callable[[], None]) -> None:
    """Run it in a child that stands in `folder` and is without root's right to everything."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(folder)
            if os.getuid() == 0:
                os.setuid(NOBODY)
            work()
            code = 0
        except BaseException:  # noqa: BLE001 - a child of a test must not come back as a second pytest
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of nobody's."""
    root = tmp_path / "tree"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/old").write_text("old")
    if os.getuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    return root


@pytest.mark.parametrize("mode", [0o000, 0o555, 0o400])
def test_rights_that_were_taken_away_stop_nobody(tree: Path, mode: int) -> None:
    def work() -> None:
        here = Path()
        for folder in ("a/b", "a"):
            (here / folder).chmod(mode)
        assert read_inside(here, "a/b/old", max_bytes=9) == b"old"
        (here / "a/b").chmod(mode)
        assert write_inside(here, "a/b/old", b"new", executable=True) == b"old"
        (here / "a/b").chmod(mode)
        assert write_inside(here, "a/b/c/d", b"deep", executable=False) is None
        (here / "a/b").chmod(mode)
        (here / "a/b").chmod(0o700)
        (here / "a/b/old").chmod(0)
        assert write_inside(here, "a/b/old", b"newer", executable=False) == b""
        remove_inside(here, "a/b/old")
        assert sorted(path.name for path in (here / "a/b").iterdir()) == ["c"]

    as_nobody(tree, work)


def test_nothing_is_followed_out_of_the_tree(tree: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("theirs")
    (tree / "link").symlink_to(outside)
    (tree / "file").symlink_to(outside / "x")
    for path in ("link/x", "file"):
        with pytest.raises(Outside):
            read_inside(tree, path, max_bytes=99)
        remove_inside(tree, path)
    assert write_inside(tree, "link/x", b"ours", executable=False) is None
    assert (outside / "x").read_text() == "theirs"
    assert (tree / "link/x").read_bytes() == b"ours"
    assert not (tree / "file").is_symlink()


def test_a_file_is_read_up_to_its_bound(tree: Path) -> None:
    with pytest.raises(Outside, match="more than 2 bytes"):
        read_inside(tree, "a/b/old", max_bytes=2)
    assert read_inside(tree, "./a//b/./old", max_bytes=3) == b"old"
