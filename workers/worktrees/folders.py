"""The folders of one attempt: their names, and putting right what an agent did to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from workers.owned import real_folder

# Who removes empty folders removes a few above one, once.
_TRIES = 10


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
            real_folder(folder)


def make_folder(path: Path) -> None:
    """Make a new folder with its parents, also while somebody removes empty ones. Raises FileExistsError."""
    for _ in range(_TRIES):
        try:
            path.mkdir(parents=True)
        except FileNotFoundError:
            continue
        return
    path.mkdir(parents=True)
