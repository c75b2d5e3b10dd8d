"""Whether a job's folders and git data are whole: what a run broke of them is its own doing, not the machine's.

Nothing is written while looking, so that a full disk is never taken for damage.
"""

import errno
import os
import re

from workers.worktrees.git import GitError
from workers.worktrees.worktree import JobTree

# What a whole tree on a sick machine answers. The last words of git's lines are the system's, never a file's name.
_SICK = (
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.EAGAIN, errno.ESTALE, errno.ENODEV, errno.ENXIO),
)
_SICK_WORDS = re.compile(rf": (?:{'|'.join(re.escape(os.strerror(number)) for number in _SICK)})$", re.MULTILINE)
# Of all commits of a job that are read through.
_READ_BYTES = 1 << 40


def damage(job: JobTree) -> str | None:
    """What is broken, in words; None while all is whole, and where the machine does not let itself be asked.

    Call while no process of the job lives.
    """
    try:
        require_whole(job)
    except GitError as error:
        return None if _is_sick(error) else str(error)
    except OSError as error:
        return None if error.errno in _SICK else str(error)
    return None


def require_whole(job: JobTree) -> None:
    """Raises GitError or OSError where folders, branch, index or objects of ours are not as we left them.

    Every byte of the job's own commits is read, of the others only whether they are there: this may take a while.
    """
    job.restore()
    if job.git.text(["rev-parse", "--verify", job.branch_ref], job.place) != job.head:
        raise GitError(f"the branch in {job.paths.git} was moved by somebody")
    _require_commits(job)
    _require_index(job)


def _require_commits(job: JobTree) -> None:
    names = job.git.run(["rev-list", "--objects", "--no-object-names", job.head, f"^{job.base}"], job.place)
    if names:
        job.git.run(["cat-file", "--batch"], job.place, stdin=names, sink=_Nowhere(), max_output_bytes=_READ_BYTES)


def _require_index(job: JobTree) -> None:
    entries = job.git.run(["ls-files", "-z", "--stage"], job.place).split(b"\0")[:-1]
    names = b"\n".join(entry.split(b" ", 2)[1] for entry in entries if not entry.startswith(b"160000 "))
    if b" missing" in job.git.run(["cat-file", "--batch-check"], job.place, stdin=names):
        raise GitError(f"files that the index of {job.paths.git} names were taken away by somebody")


class _Nowhere:
    """Takes what only has to be readable."""

    def write(self, data: bytes, /) -> None:
        """Forget it."""


def _is_sick(error: GitError) -> bool:
    """Git was killed, hung, could not be started or was let down by the system, so it says nothing about the data."""
    if error.args_ and (error.returncode is None or error.returncode < 0):
        return True
    return _SICK_WORDS.search(error.stderr) is not None
