"""A TCP port in front of a Unix socket or of a local port: `relay.py ADDRESS PORT SOCKET|PORT`."""

import asyncio
import contextlib
import sys


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()
    sink.close()


async def main(address: str, port: int, target: str) -> None:
    """Serve until killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = asyncio.open_connection("127.0.0.1", int(target)) if target.isdigit() else None
        try:
            behind, ahead = await (opened or asyncio.open_unix_connection(target))
        except OSError:  # nobody is there now
            writer.close()
            return
        await asyncio.gather(_copy(reader, ahead), _copy(behind, writer))

    server = await asyncio.start_server(serve, address, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
