"""Every message twice, and late: reads what the broker is told, and pushes the very same bytes again."""

import ast
import heapq
import random
import re
import threading
import time

import redis

_WORDS = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_LATE_SECONDS = 6.0
_LOOK_SECONDS = 0.05


class Duplicator:
    """Works from its start until `close`, and pushes what is late to the end."""

    def __init__(self, client: redis.Redis, prefix: str, seed: float) -> None:
        self._client, self._prefix, self._rng = client, prefix.encode(), random.Random(seed)
        self._seen: set[bytes] = set()
        self._due: list[tuple[float, bytes, bytes]] = []
        self.pushed = 0
        self._stop = threading.Event()
        # Not the client's own: what it pushes is to be told apart by its bytes, and commands wait for answers.
        self._ears = client.connection_pool.get_connection()
        self._ears.send_command("MONITOR")  # type: ignore[no-untyped-call]
        self._ears.read_response()
        self._thread = threading.Thread(target=self._run, name="duplicator", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Push at once what would be late, and end."""
        self._stop.set()
        self._thread.join()
        self._client.connection_pool.disconnect()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._ears.can_read(timeout=_LOOK_SECONDS):
                    self._hear(bytes(self._ears.read_response(disable_decoding=True)))
                self._push(time.monotonic())
            self._push(time.monotonic() + _LATE_SECONDS)
        except (redis.RedisError, OSError):
            return  # the broker is gone, and everything that was late with it

    def _hear(self, line: bytes) -> None:
        words = [ast.literal_eval(f'b"{word.decode()}"') for word in _WORDS.findall(line)]
        if len(words) != 3 or words[0].upper() != b"LPUSH" or not words[1].startswith(self._prefix):
            return
        if words[2] not in self._seen:
            self._seen.add(words[2])
            now = time.monotonic()
            for moment in (now, now + self._rng.uniform(0, _LATE_SECONDS)):
                heapq.heappush(self._due, (moment, words[1], words[2]))

    def _push(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            _, queue, message = heapq.heappop(self._due)
            self._client.lpush(queue, message)
            self.pushed += 1
