"""Who may look: the login, sessions that need no memory, the brake on guessing, and which names of the host count.

Pure: times are arguments. Nothing here stores anything but the failures of the last minutes.
"""

import hashlib
import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

SESSION_SECONDS = 12 * 3600.0
# A person mistypes a few times; then every further failure doubles the wait.
_FREE_FAILURES = 5
_LONGEST_WAIT_SECONDS = 60.0
_FORGET_SECONDS = 900.0
_MOST_PEERS = 1000
# Of all peers together: guessing from many addresses is slow too, but nobody alone can lock the others out for long.
_FREE_FAILURES_OF_ALL = 200
_ALL = ""
_PATH_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/-_.~%?=&+")


class Login:
    """One user and password, and the sessions that they sign.

    The key of the signatures comes from the password: a session survives a restart, and ends when the password
    changes. Making it is slow on purpose, so that a stolen cookie is no quick way to a weak password.
    """

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self._digest = _digest(user, password)
        salt = f"bakeoff web session of {user}".encode()
        self._key = hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, dklen=32)
        # Cookies know no ports: two pages on one host must not take each other's.
        self.cookie = f"bakeoff_{hashlib.sha256(self._key).hexdigest()[:8]}"

    def knows(self, user: str, password: str) -> bool:
        """Whether both are right, in a time that does not tell how nearly."""
        return hmac.compare_digest(_digest(user, password), self._digest)

    def session(self, now_epoch: float) -> str:
        """A new session's token, good for `SESSION_SECONDS`."""
        until = str(int(now_epoch + SESSION_SECONDS))
        return f"{until}.{self._signature(until)}"

    def admits(self, token: str, now_epoch: float) -> bool:
        """Whether the token is one of ours and not over."""
        until, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), self._signature(until).encode()):
            return False
        return now_epoch < int(until) <= now_epoch + SESSION_SECONDS

    def _signature(self, until: str) -> str:
        return hmac.new(self._key, until.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _digest(user: str, password: str) -> bytes:
    return hashlib.sha256(f"{user}\0{password}".encode("utf-8", "surrogateescape")).digest()


class _Failures(NamedTuple):
    number: int
    last: float


class Brake:
    """Counts failed logins by peer, and says how long the next try has to wait. Bounded in memory."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait_seconds(self, peer: str, now: float) -> float:
        """Seconds until this peer may try again; 0 = now."""
        return max(self._wait(peer, _FREE_FAILURES, now), self._wait(_ALL, _FREE_FAILURES_OF_ALL, now))

    def failed(self, peer: str, now: float) -> None:
        """A try was wrong."""
        for key in (peer, _ALL):
            self._failures[key] = _Failures(self._known(key, now).number + 1, now)
            self._failures.move_to_end(key)
        while len(self._failures) > _MOST_PEERS:
            self._failures.popitem(last=False)

    def succeeded(self, peer: str) -> None:
        """A try was right: what the peer mistyped before is forgotten."""
        self._failures.pop(peer, None)

    def _wait(self, key: str, free: int, now: float) -> float:
        known = self._known(key, now)
        if known.number < free:
            return 0.0
        pause = min(_LONGEST_WAIT_SECONDS, 2.0 ** min(known.number - free, 10))
        return max(0.0, known.last + pause - now)

    def _known(self, key: str, now: float) -> _Failures:
        known = self._failures.get(key, _Failures(0, now))
        return _Failures(0, now) if now - known.last > _FORGET_SECONDS else known


def is_known_host(header: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server: by a number, as `localhost`, or by one of its names.

    A page of somebody else's can point its own name at this machine (DNS rebinding), and read it as its own; a number
    it cannot.
    """
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host in {name.lower() for name in names}
    return True


def safe_path(given: str) -> str:
    """Where to go after the login: a path of ours, else the first page."""
    ours = given.startswith("/") and not given.startswith("//") and set(given) <= _PATH_CHARS
    return given if ours else "/"
