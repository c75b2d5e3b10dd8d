"""The folders of one attempt: their names, and putting right what an agent did to them."""

import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class JobPaths(NamedTuple):
    """The parts of a run directory."""

    run: Path

    @property
    def tree(self) -> Path:
        """The files that the agent works on."""
        return self.run / "tree"

    @property
    def git(self) -> Path:
        """The worker's own git directory."""
        return self.run / "git"

    @property
    def home(self) -> Path:
        """HOME of everything that runs for the job."""
        return self.run / "home"

    @property
    def tmp(self) -> Path:
        """TMPDIR of everything that runs for the job."""
        return self.run / "tmp"

    @property
    def logs(self) -> Path:
        """Logs of setup, stages and checks."""
        return self.run / "logs"

    def environment(self) -> Mapping[str, str]:
        """HOME, XDG and temporary directories of the job."""
        home = self.home
        return {
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_CACHE_HOME": str(home / ".cache"),
            "XDG_DATA_HOME": str(home / ".local/share"),
            "XDG_STATE_HOME": str(home / ".local/state"),
            "TMPDIR": str(self.tmp),
        }

    def restore(self) -> None:
        """An agent may have removed a folder of its own, put a link in its place or taken the rights to it away.

        What is behind a link is not followed: everything in the folder is gone then.
        """
        for folder in (self.tree, self.home, self.tmp, self.logs):
            if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
                folder.unlink()
            folder.mkdir(mode=0o700, exist_ok=True)
            if (mode := stat.S_IMODE(folder.stat().st_mode)) & stat.S_IRWXU != stat.S_IRWXU:
                folder.chmod(mode | stat.S_IRWXU)


def remove_tree(path: Path) -> None:
    """Delete a directory with everything in it, also where an agent took rights away. Follows no link."""
    try:
        shutil.rmtree(path)
    except PermissionError:
        path.chmod(stat.S_IRWXU)
        for folder, names, _ in os.walk(path):
            for name in names:
                if not (Path(folder) / name).is_symlink():
                    (Path(folder) / name).chmod(stat.S_IRWXU)
        shutil.rmtree(path)
