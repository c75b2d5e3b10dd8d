"""Reading the hidden files of checks from beside the experiment file: regular files only, bounded, by content."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from orchestrator.domain.check import HiddenPack
from orchestrator.domain.experiment import Experiment
from orchestrator.domain.hidden import MAX_PACK_BYTES, MAX_PACK_FILES, HiddenFile, describe, git_name, pack
from orchestrator.files.tree import Path as FieldPath
from orchestrator.files.tree import Tree


@dataclass(frozen=True, kw_only=True)
class HiddenFiles:
    """What the checks of an experiment hide. `packs` by target's label and check's name, `files` by pack's hash."""

    packs: Mapping[str, Mapping[str, HiddenPack]] = field(default_factory=dict)
    files: Mapping[str, tuple[HiddenFile, ...]] = field(default_factory=dict)

    def blob(self, sha256: str) -> bytes:
        """A pack as it is stored. Raises KeyError."""
        return pack(self.files[sha256])

    def git_names(self, label: str) -> dict[str, tuple[str, ...]]:
        """By check of a target: git's names of what its files hold; empty files, which tell nothing, are left out."""
        return {
            name: tuple(git_name(item.content) for item in self.files[found.sha256] if item.content)
            for name, found in self.packs.get(label, {}).items()
        }


class _Refused(Exception):
    """What is wrong with a file or folder of the user's."""


def read_hidden(tree: Tree, experiment: Experiment, base: Path) -> HiddenFiles:
    """The files that the experiment's checks name, relative to `base`; what is wrong with them is noted in `tree`."""
    packs: dict[str, dict[str, HiddenPack]] = {}
    files: dict[str, tuple[HiddenFile, ...]] = {}
    known: dict[tuple[str, ...], tuple[HiddenFile, ...]] = {}
    for number, target in enumerate(experiment.targets):
        for name, check in target.checks.items():
            if not check.files:
                continue
            if check.files not in known:
                known[check.files] = _read_all(tree, ("targets", number, "checks", name, "files"), check.files, base)
            found = known[check.files]
            if found:
                described = describe(found)
                packs.setdefault(target.label, {})[name] = described
                files[described.sha256] = found
    return HiddenFiles(packs=packs, files=files)


def _read_all(tree: Tree, path: FieldPath, names: tuple[str, ...], base: Path) -> tuple[HiddenFile, ...]:
    """Every file under these names; none after a fault was noted. Of two for one place the later one stays."""
    found: dict[str, HiddenFile] = {}
    room = MAX_PACK_BYTES
    for name in names:
        try:
            for place, source in _sources(base / Path(name)):
                one = _read(source, place, room)
                room -= len(one.content)
                found[place] = one
                if len(found) > MAX_PACK_FILES:
                    raise _Refused(f"are more than {MAX_PACK_FILES} files")
            _require_room_for_folders(found)
        except (_Refused, OSError, ValueError) as error:  # ValueError: a NUL in the name
            message = str(error) if isinstance(error, _Refused) else f"cannot be read: {_why(error)}"
            tree.fault(path, message, found=str(base / name), accepted="a file or a folder beside this file")
            return ()
    if not found:
        tree.fault(path, "hold no file", found=", ".join(names))
    return tuple(found.values())


def _why(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _require_room_for_folders(places: Mapping[str, HiddenFile]) -> None:
    for place in places:
        above = next((str(one) for one in PurePosixPath(place).parents if str(one) in places), None)
        if above is not None:
            raise _Refused(f"contain both the file {above!r} and {place!r} in a folder of that name")


def _sources(top: Path) -> Iterator[tuple[str, Path]]:
    """Places in the checkout and the files for them: a folder's content goes to the root, with its layout."""
    if not top.is_dir():
        yield top.name, top
        return
    for folder, folders, names in os.walk(top, onerror=_raise):
        folders.sort()
        for name in (*sorted(names), *(name for name in folders if (Path(folder) / name).is_symlink())):
            source = Path(folder) / name
            yield source.relative_to(top).as_posix(), source


def _raise(error: OSError) -> None:
    raise error


def _read(source: Path, place: str, room: int) -> HiddenFile:
    if any(part.casefold() == ".git" for part in place.split("/")):
        raise _Refused(f"contain {place!r}: git's own folders are not copied")
    if any("\ud800" <= char < "\ue000" for char in place):
        raise _Refused(f"contain a name that is not UTF-8: {place!a}")
    try:
        # Not through a link: it would mean another file on another day. Non-blocking, since a pipe would wait.
        descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise _Refused("are not there") from None
    except OSError as error:
        raise _Refused(f"contain {place!r}, which is a link or cannot be opened: {error.strerror}") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _Refused(f"contain {place!r}, which is no regular file")
    with os.fdopen(descriptor, "rb") as stream:
        content = stream.read(room + 1)
    if len(content) > room:
        raise _Refused(f"are more than {MAX_PACK_BYTES} bytes")
    return HiddenFile(place, content, bool(status.st_mode & stat.S_IXUSR))
