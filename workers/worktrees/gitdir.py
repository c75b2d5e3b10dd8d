"""Git directories written by hand: what is in them is known to the byte, and no process is needed to make one.

Three kinds: the mirror (bare, shared by all jobs), the worker's own directory of a job, and the `.git` that the job's
agent sees. The first two are sealed before every use, because an agent that runs under the same user could have
written into them.
"""

import os
import re
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

from workers.disk import remove_tree
from workers.worktrees.git import GitError

_SHA = re.compile(r"[0-9a-f]{40}")
_REF_BYTES = 256

_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = {bare}\n"
# `text`, `filter` and the rest decide how git alters content between tree and object. Bytes stay bytes here, in both
# directions, whatever attribute files the repository or the agent brings: this file outranks them all.
_ATTRIBUTES = "* -text !eol -ident -filter !working-tree-encoding !diff !merge !export-subst\n"
_FOLDERS = ("objects", "objects/info", "objects/pack", "refs", "refs/heads", "info")
# Configuration, programs, and what makes git see other objects, paths or resolutions than those that we recorded.
_NEVER_OURS = (
    *("hooks", "config.worktree", "commondir", "rr-cache", "logs", "modules", "info/sparse-checkout", "info/grafts"),
    *("objects/info/http-alternates", "objects/info/commit-graph", "objects/info/commit-graphs"),
)
_AGENT_CONFIG = (
    "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n"
    "[user]\n\tname = Agent\n\temail = agent@localhost\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
)


def is_sha(text: str) -> bool:
    """Whether this is a full SHA-1 name of an object."""
    return _SHA.fullmatch(text) is not None


def create(git_dir: Path, *, head: str, objects: Sequence[Path] = (), bare: bool) -> None:
    """A git directory of ours. `head` is the branch's full name; `objects` are the stores it borrows from."""
    for part in ("objects/info", "objects/pack", "refs/heads", "info"):
        (git_dir / part).mkdir(parents=True, exist_ok=True)
    seal(git_dir, head=head, objects=objects, bare=bare)


def seal(git_dir: Path, *, head: str, objects: Sequence[Path] = (), bare: bool) -> None:
    """Put back everything in a git directory of ours that could make git run or read something else."""
    wanted = {
        "config": _CONFIG.format(bare=str(bare).lower()),
        "HEAD": f"ref: {head}\n",
        "info/attributes": _ATTRIBUTES,
        "info/exclude": "",
        "objects/info/alternates": _alternates(objects),
    }
    _require_whole(git_dir)
    for name, text in wanted.items():
        _put_if_other(git_dir / name, text)
    for name in _NEVER_OURS:
        _discard(git_dir / name)


def _require_whole(git_dir: Path) -> None:
    """Every folder that git or we write to is a real one: through a link the writing would happen elsewhere."""
    if not _is_real_dir(git_dir):
        raise GitError(f"the git directory {git_dir} is gone")
    found = [git_dir / name for name in _FOLDERS]
    if not all(map(_is_real_dir, found)):
        raise GitError(f"a folder of {git_dir} was taken away or replaced by somebody")
    with os.scandir(git_dir / "objects") as entries:
        found += [Path(entry.path) for entry in entries if entry.is_symlink()]
    for place, folders, _ in os.walk(git_dir / "refs"):
        found += [Path(place, name) for name in folders]
    odd = next((path for path in found if not _is_real_dir(path)), None)
    if odd is None and (git_dir / "index").is_symlink():
        odd = git_dir / "index"
    if odd is not None:
        raise GitError(f"{odd} was replaced by somebody: nothing is written through it")


def create_agents(
    git_dir: Path, *, branch: str, sha: str, objects: Sequence[Path], index: Path | None, shallow: Path
) -> None:
    """The `.git` that agents and checks see: own config and refs, no remotes, no hooks, borrowed objects."""
    for part in ("objects/info", "objects/pack", "refs/tags", "info"):
        (git_dir / part).mkdir(parents=True)
    (git_dir / "config").write_text(_AGENT_CONFIG)
    (git_dir / "HEAD").write_text(f"ref: refs/heads/{branch}\n")
    (git_dir / "objects/info/alternates").write_bytes(os.fsencode(_alternates(objects)))
    write_ref(git_dir, f"refs/heads/{branch}", sha)
    copy_shallow(shallow, git_dir)
    if index is not None:
        shutil.copyfile(index, git_dir / "index")


def adopt(git_dir: Path, *, branch: str, sha: str, own: Path) -> bool:
    """Move the agent's `.git` to a commit of ours, so that its `git status` starts clean. False when unsafe.

    Setup commands, which are the repository's code, ran before this: nothing is followed that they may have linked
    elsewhere. No process of theirs is alive any more.
    """
    ref = Path("refs/heads") / branch
    parts = [Path(), Path("objects"), *(parent for parent in ref.parents if parent != Path())]
    if any(not _is_real_dir(git_dir / part) for part in parts):
        return False
    for folder in sorted((own / "objects").glob("[0-9a-f][0-9a-f]")):
        target = git_dir / "objects" / folder.name
        target.mkdir(exist_ok=True)
        if not _is_real_dir(target):
            return False
        for item in folder.iterdir():
            if not os.path.lexists(target / item.name):
                shutil.copyfile(item, target / item.name)
    _replace(git_dir / "index", (own / "index").read_bytes())
    _replace(git_dir / ref, f"{sha}\n".encode())
    return True


def leave_note(git_dir: Path, name: str, text: str) -> bool:
    """Put a file for the agent into the folder `bakeoff` of its `.git`, which holds nothing else afterwards.

    False when what the agent made of its `.git` lets nothing be written there. No process of the job may live.
    """
    folder = git_dir / "bakeoff"
    if not _is_real_dir(git_dir):
        return False
    try:
        git_dir.chmod(stat.S_IMODE(git_dir.stat().st_mode) | stat.S_IRWXU)
        if _is_real_dir(folder):
            remove_tree(folder)
        folder.unlink(missing_ok=True)
        folder.mkdir()
        (folder / name).write_text(text, encoding="utf-8")
    except PermissionError:
        return False
    return True


def write_ref(git_dir: Path, ref: str, sha: str) -> None:
    """Set a ref in a git directory of ours that nobody else writes."""
    path = git_dir / ref
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, f"{sha}\n".encode())


def read_ref(git_dir: Path, ref: str) -> str | None:
    """The object that a ref written by `write_ref` names; None when there is none."""
    try:
        with (git_dir / ref).open("rb") as file:
            text = file.read(_REF_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return text if is_sha(text) else None


def copy_shallow(source: Path, git_dir: Path) -> None:
    """Carry over where a shallow history ends; without it git would miss parents that were never fetched."""
    if source.is_file():
        shutil.copyfile(source, git_dir / "shallow")


def _alternates(objects: Sequence[Path]) -> str:
    for path in objects:
        if "\n" in str(path) or str(path).startswith(("#", '"')):
            raise GitError(f"git cannot borrow objects from a path like {str(path)!r}")
    return "".join(f"{path}\n" for path in objects)


def _put_if_other(path: Path, text: str) -> None:
    wanted = os.fsencode(text)
    same_size = path.is_file() and path.stat().st_size == len(wanted)  # whoever wrote it may have left a huge one
    if path.is_symlink() or not same_size or path.read_bytes() != wanted:
        _replace(path, wanted)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    temporary.write_bytes(data)
    temporary.replace(path)


def _discard(path: Path) -> None:
    if _is_real_dir(path):
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _is_real_dir(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
