"""Records the exchanges of one stage into a cassette, without the keys and without ever disturbing an exchange."""

import contextlib
import logging
import re
import time
from collections.abc import Mapping
from pathlib import Path

from multidict import CIMultiDictProxy

from workers.gateway.cassette import CassetteFile, End, Take, as_text, shape_of
from workers.gateway.headers import limit_headers

_log = logging.getLogger(__name__)
# A longer answer is kept as one that broke off here.
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_KEPT_HEADERS = ("content-type", "content-encoding")
# The gateway's own keys: no longer valid, but nobody should have to know that.
_OWN_KEY = re.compile(r"sk-bakeoff-[\w-]+")
_HIDDEN = "***"


class StageRecorder:
    """The cassette of one stage. Opening it raises OSError; a later fault ends the recording and not the stage."""

    def __init__(self, path: Path, about: Mapping[str, str], secret: str | None) -> None:
        self._file: CassetteFile | None = CassetteFile(path, about)
        self._path, self._secret = path, secret

    def begin(self, method: str, path: str) -> "ExchangeRecorder":
        """A request arrived; `path` without its query."""
        return ExchangeRecorder(self, method, path)

    def add(self, take: Take) -> None:
        """An exchange is over."""
        if self._file is None:
            return
        try:
            self._file.add(take)
        # A ValueError is a file that the stage's end has closed while an exchange lingered.
        except (OSError, ValueError) as error:
            _log.warning("cassette_cannot_be_written path=%s error=%s", self._path, error)
            self.close()

    def close(self) -> None:
        """The stage is over. Idempotent."""
        file, self._file = self._file, None
        # Closing writes what a full disk did not take before, and fails as it did then.
        with contextlib.suppress(OSError):
            if file is not None:
                file.close()

    def hidden(self, words: str) -> str:
        """The words without a key: some servers quote the key that they refuse."""
        words = words.replace(self._secret, _HIDDEN) if self._secret else words
        return _OWN_KEY.sub(_HIDDEN, words)


class ExchangeRecorder:
    """One exchange, as it passes."""

    def __init__(self, stage: StageRecorder, method: str, path: str) -> None:
        self._stage, self._method, self._path = stage, method, path
        self._began = time.monotonic()
        self._request: bytes | None = None
        self._status: int | None = None
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._cut = False

    def asked(self, body: bytes | None) -> None:
        """The request's body; None when it is too large to be held."""
        self._request = body

    def answered(self, status: int, headers: CIMultiDictProxy[str]) -> None:
        """The answer's beginning."""
        self._status = status
        kept = {name: headers[name] for name in _KEPT_HEADERS if name in headers}
        self._headers = {name: self._stage.hidden(value) for name, value in (kept | limit_headers(headers)).items()}

    def passed(self, chunk: bytes) -> None:
        """A part of the answer's body."""
        self._cut = self._cut or len(self._body) + len(chunk) > MAX_ANSWER_BYTES
        if not self._cut:
            self._body += chunk

    def ended(self, end: End) -> None:
        """The exchange is over."""
        hidden = self._stage.hidden
        self._stage.add(
            Take(
                shape=shape_of(self._method, self._path, self._request),
                request=hidden(as_text(self._request or b"")),
                status=self._status,
                headers=self._headers,
                body=hidden(as_text(bytes(self._body))),
                end=End.BROKEN if self._cut else end,
                duration_seconds=round(time.monotonic() - self._began, 3),
            )
        )
