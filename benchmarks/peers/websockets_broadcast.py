"""`websockets` as its documents advise for many readers: `broadcast`, in asyncio with uvloop."""

import uvloop
from demand import demanded
from websockets.asyncio.server import broadcast, serve


async def main():
    """Serve until the end."""
    there = set()

    async def come(socket):
        there.add(socket)
        try:
            await socket.wait_closed()
        finally:
            there.discard(socket)

    async with serve(come, "127.0.0.1", 0, compression=None) as server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        async for message in demanded():
            broadcast(there, message)


uvloop.run(main())
