"""A certificate authority of the test's own, and TLS in front of servers that have none of their own."""

import asyncio
import contextlib
import ssl
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

# What libpq sends before its handshake: a length of 8 and the code of an SSLRequest, answered with `S` for yes.
# https://www.postgresql.org/docs/current/protocol-message-formats.html
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Authority(NamedTuple):
    """PEM files: the authority's certificate, and a server's for `localhost` that it has signed."""

    ca: Path
    certificate: Path
    key: Path


def make_authority(folder: Path) -> Authority:
    """A new authority, which nobody else trusts."""
    folder.mkdir(parents=True)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    made = Authority(ca, folder / "server.pem", folder / "server.key")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    _openssl(*new, "-subj", "/CN=test authority", "-keyout", str(ca_key), "-out", str(ca))
    sign = ["-CA", str(ca), "-CAkey", str(ca_key), "-addext", "subjectAltName=DNS:localhost"]
    sign += ["-addext", "basicConstraints=critical,CA:FALSE"]
    _openssl(*new, "-subj", "/CN=localhost", *sign, "-keyout", str(made.key), "-out", str(made.certificate))
    return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class TlsFront:
    """A port of this machine that speaks TLS and passes everything on to a server's Unix socket."""

    def __init__(self, authority: Authority, socket: Path, *, postgres: bool = False) -> None:
        self._socket, self._postgres = socket, postgres
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(authority.certificate, authority.key)
        self.port = 0
        # Connections whose handshake was completed.
        self.served = 0
        self._ready, self._over = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._run(),), name="tls", daemon=True)
        self._thread.start()
        assert self._ready.wait(60)

    def stop(self) -> None:
        """Close the port and every connection."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda *_: None)  # handshakes that fail are what some tests are about
        context = None if self._postgres else self._context
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._postgres:
                if await reader.readexactly(len(_SSL_REQUEST)) != _SSL_REQUEST:
                    return  # it would speak in the clear
                writer.write(b"S")
                await writer.start_tls(self._context)
            self.served += 1
            ahead, back = await asyncio.open_unix_connection(self._socket)
            await asyncio.gather(_copy(reader, back), _copy(ahead, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()
