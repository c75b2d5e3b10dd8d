"""The environment in which an agent runs, and finding its program: nothing here reads our own environment."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.domain.errors import Unavailable
from workers.agents.base import StageContext

_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
# A first start on a cold disk took 4 s; a program that has not told its version by then is broken.
_VERSION_TIMEOUT_SECONDS = 30.0
# The Python in a program's first line; a path that is too long for it stands in the second, behind a shell's `exec`.
_PYTHON = re.compile(r"""#!/bin/sh\n'''exec' "?([^"\n]+?)"? "\$0"|#!(\S+)""")


def clean_env(context: StageContext) -> dict[str, str]:
    """The agent's environment: an allow-list, then the user's additions, then what must be the job's own.

    The worker's own environment (database URL, broker URL, provider keys) never gets in.
    """
    home = context.home
    return {
        "PATH": context.host_env.get("PATH") or _DEFAULT_PATH,
        "LANG": context.host_env.get("LANG") or "C.UTF-8",
        "TERM": "dumb",
        **context.extra_env,
        "HOME": str(home),
        "TMPDIR": str(context.tmp),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "XDG_STATE_HOME": str(home / ".local/state"),
        "XDG_CACHE_HOME": str(home / ".cache"),
    }


def find_program(name: str, env: Mapping[str, str]) -> str | None:
    """Absolute path of a program over the `PATH` of `env`; None when it is not there."""
    return shutil.which(name, path=env.get("PATH") or _DEFAULT_PATH)


def require_program(name: str, env: Mapping[str, str], hint: str) -> str:
    """Like `find_program`, but raises Unavailable with the way to install it."""
    program = find_program(name, env)
    if program is None:
        raise Unavailable(f"{name} is not on the PATH; install it: {hint}")
    return program


def package_version(program: str, package: str, env: Mapping[str, str]) -> str | None:
    """Version of the Python package that a program comes from, asked of the Python that its file names.

    Quicker than the program, which may load all that it has, or look into the network, before it tells.
    """
    found = find_program(program, env)
    if found is None:
        return None
    with Path(found).open("rb") as file:
        python = _PYTHON.match(file.read(1024).decode("utf-8", "replace"))
    if python is None:
        return None
    ask = f"from importlib.metadata import version; print(version({package!r}))"
    return program_version((python[1] or python[2], "-I", "-c", ask), env)


def program_version(argv: Sequence[str], env: Mapping[str, str]) -> str | None:
    """The version in the first line that a version command prints; None when it cannot be asked.

    That is its first word with a digit in front (`codex-cli 0.169.0`, `2.1.329 (Claude Code)`), else its last word.

    It gets a HOME of its own, because some programs fill it when they are only asked for their version.
    """
    program = find_program(argv[0], env)
    if program is None:
        return None
    with tempfile.TemporaryDirectory(prefix="bakeoff-version-") as home:
        clean = {"PATH": env.get("PATH") or _DEFAULT_PATH, "HOME": home, "TERM": "dumb", "LANG": "C.UTF-8"}
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                env=clean,
                cwd=home,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_VERSION_TIMEOUT_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
    words = done.stdout.decode("utf-8", "replace").split("\n", 1)[0].split()
    if not words or done.returncode != 0:
        return None
    return next((word for word in words if word[0].isdigit()), words[-1])
