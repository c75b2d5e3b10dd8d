"""Some servers quote the key that they refuse. In an error answer it is starred out, at the same length."""


class Quoted:
    """The body of one answer, part by part. Without a secret it passes as it is."""

    def __init__(self, secret: str | None) -> None:
        self._secret = (secret or "").encode()
        self._held = b""

    def passing(self, part: bytes) -> bytes:
        """What can go on by now. An end that may be the beginning of the secret waits for what follows it."""
        data = hidden(self._held + part, self._secret)
        longest = min(len(data), len(self._secret) - 1)
        kept = next((size for size in range(longest, 0, -1) if data.endswith(self._secret[:size])), 0)
        self._held = data[len(data) - kept :]
        return data[: len(data) - kept]

    def rest(self) -> bytes:
        """What still waits when the answer is over."""
        data, self._held = self._held, b""
        return data


def hidden(data: bytes, secret: bytes) -> bytes:
    """The bytes with stars in the place of every secret in them."""
    return data.replace(secret, b"*" * len(secret)) if secret else data
