"""Passwords of pages that nobody chose one for: made once, and kept in a file that only its owner can read."""

import secrets
from pathlib import Path

from orchestrator.domain.errors import Unavailable


def kept_password(path: Path) -> str:
    """The password of earlier starts, or a new one: in a file, since what is printed may end in a log."""
    try:
        kept = path.read_text().strip()
    except FileNotFoundError:
        kept = ""
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from None
    if not kept:
        kept = secrets.token_urlsafe(12)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)
        path.write_text(kept + "\n")
    return kept
