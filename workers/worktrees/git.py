"""The only place that starts git: argument lists, a scrubbed environment, time and output limits, one error type.

GitPython is not used here, on purpose. Its convenience calls on a tree that an agent could write run whatever that
tree's configuration names (`is_dirty` ran a planted `core.fsmonitor`; dynamic `repo.git.*` calls took options out of
values), it inherits the host's `GIT_*` variables, has no time limits, and importing it already starts a process.
Everything needed is a dozen plumbing commands.

What is switched off for every call: the host's and the user's configuration, hooks, fsmonitor, attributes and ignore
files outside the tree, prompts, background maintenance, lazy fetching and, except where a call says otherwise, every
transport. Filters and external diffs cannot be switched off by an option: they stay dead because the git directory
that is used defines none (`gitdir.seal`).
"""

import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from orchestrator.domain.errors import Unavailable

# Enough for the cause, small enough for a log line and a database row.
_STDERR_TAIL_BYTES = 4096
# Lists of names of very large trees fit; a run-away listing does not fill the memory.
_MAX_OUTPUT_BYTES = 256 * 1024 * 1024
# A command on local files that takes longer than this on a busy machine has hung.
LOCAL_TIMEOUT_SECONDS = 300.0

_SAFE_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.safecrlf=false",
    "core.quotePath=true",
    "core.sshCommand=ssh -oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=15 -oServerAliveCountMax=4",
    "credential.helper=",
    "gc.auto=0",
    "core.commitGraph=false",
    "core.multiPackIndex=false",
    "rerere.enabled=false",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "diff.ignoreSubmodules=all",
    "commit.gpgSign=false",
    "advice.detachedHead=false",
    "protocol.allow=never",
)
# `ext::` stays refused also here: it is a command line in the shape of an address.
_TRANSPORT_CONFIG = (
    "protocol.file.allow=always",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.ext.allow=never",
    "protocol.version=2",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=60",
    "fetch.unpackLimit=1",
)
# What ssh and curl need to reach a server; HOME is for ~/.ssh and ~/.netrc only, git's own files are switched off.
_TRANSPORT_ENV = (
    "HOME",
    "SSH_AUTH_SOCK",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "no_proxy",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


class Sink(Protocol):
    """Where a command's output goes."""

    def write(self, data: bytes, /) -> object:
        """Take all of the next bytes."""


class GitError(Unavailable):
    """A git command failed: infrastructure, unless `damage` finds that an agent broke what git works on.

    `args_` is the command without our own options, `returncode` None after a time-out, `stderr` its last 4 KiB.
    """

    kind = "git"

    def __init__(self, message: str, *, args_: Sequence[str] = (), returncode: int | None = None, stderr: str = ""):
        self.args_, self.returncode, self.stderr = tuple(args_), returncode, stderr
        super().__init__(message)


class OutputLimit(GitError):
    """A git command said more than was allowed; what fits was kept."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a command works: git directory, tree and index. All None = the repository found at `cwd` itself.

    `holds` are descriptors that the command keeps open: locks that last until it has ended, whoever started it.
    """

    git_dir: Path | None = None
    work_tree: Path | None = None
    index: Path | None = None
    cwd: Path = Path("/")
    holds: tuple[int, ...] = ()

    def env(self) -> dict[str, str]:
        """The variables that pin git to this place."""
        named = {"GIT_DIR": self.git_dir, "GIT_WORK_TREE": self.work_tree, "GIT_INDEX_FILE": self.index}
        return {key: str(path) for key, path in named.items() if path is not None}


@dataclass(frozen=True, kw_only=True)
class Git:
    """Runs git. `host_env` is the environment from which PATH and, for transports, a few names are taken."""

    host_env: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        args: Sequence[str],
        place: Place,
        *,
        stdin: bytes = b"",
        ok: Sequence[int] = (0,),
        timeout_seconds: float = LOCAL_TIMEOUT_SECONDS,
        config: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        transport: bool = False,
        sink: Sink | None = None,
        max_output_bytes: int = _MAX_OUTPUT_BYTES,
        pass_fds: Sequence[int] = (),
    ) -> bytes:
        """Standard output of `git <args>`; empty when it went to `sink`.

        Raises GitError on an exit code outside `ok`, a time-out or a missing git; OutputLimit past
        `max_output_bytes`. Nothing of it survives: it has a session of its own, which is killed on every way out.
        """
        options = [*_SAFE_CONFIG, *(_TRANSPORT_CONFIG if transport else ()), *config]
        argv = ["git", "--no-pager", *(part for option in options for part in ("-c", option)), *args]
        with tempfile.TemporaryFile() as errors, tempfile.TemporaryFile() as given:
            given.write(stdin)
            given.seek(0)
            try:
                process = subprocess.Popen(
                    argv,
                    stdin=given,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd=place.cwd,
                    env={**self._env(transport=transport), **place.env(), **(env or {})},
                    start_new_session=True,
                    pass_fds=(*pass_fds, *place.holds),
                )
            except OSError as error:
                raise GitError(f"git cannot be started: {error}", args_=args) from error
            try:
                output = _collect(process, args, timeout_seconds, sink, max_output_bytes)
            finally:
                _end(process)
            if process.returncode not in ok:
                raise _failure(args, process.returncode, _tail(errors))
            return output

    def text(
        self, args: Sequence[str], place: Place, *, config: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> str:
        """The output of a command that prints one line. Raises as `run`."""
        return os.fsdecode(self.run(args, place, config=config, env=env)).strip()

    def _env(self, *, transport: bool) -> dict[str, str]:
        env = {
            "PATH": self.host_env.get("PATH") or os.defpath,
            "HOME": "/nonexistent",
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
        }
        if transport:
            env |= {name: self.host_env[name] for name in _TRANSPORT_ENV if name in self.host_env}
        return env


def _collect(
    process: subprocess.Popen[bytes],
    args: Sequence[str],
    timeout_seconds: float,
    sink: Sink | None,
    max_output_bytes: int,
) -> bytes:
    """Read the output to its end and wait for the process, both before the deadline."""
    deadline = time.monotonic() + timeout_seconds
    assert process.stdout is not None
    kept, size = bytearray(), 0
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise GitError(f"git {args[0]} took longer than {timeout_seconds:g} s", args_=args)
            chunk = os.read(pipe.fileno(), 1 << 16)
            if not chunk:
                break
            room = max_output_bytes - size
            size += len(chunk)
            if sink is not None:
                sink.write(chunk[:room])
            else:
                kept += chunk[:room]
            if size > max_output_bytes:
                raise OutputLimit(f"git {args[0]} said more than {max_output_bytes} bytes", args_=args)
    try:
        process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise GitError(f"git {args[0]} took longer than {timeout_seconds:g} s", args_=args) from None
    return bytes(kept)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind: after a normal end there is nothing to kill and nothing happens."""
    if process.returncode is None:
        # The leader is not reaped yet, so its number cannot belong to another process group.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _STDERR_TAIL_BYTES))
    return errors.read().decode("utf-8", "replace").strip()


def _failure(args: Sequence[str], returncode: int, stderr: str) -> GitError:
    cause = stderr.splitlines()[-1] if stderr else "no message"
    return GitError(
        f"git {args[0]} ended with {returncode}: {cause}", args_=args, returncode=returncode, stderr=stderr
    )
