"""The floor of every collector in Python: a grpc.aio server that parses nothing and answers each message at once."""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc.aio

from gputally.collector.ingest.stream import OPTIONS
from gputally.proto import telemetry_pb2 as pb

_SERVICE = pb.DESCRIPTOR.services_by_name["Telemetry"].full_name


async def _stream(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield b""


async def _serve() -> None:
    server = grpc.aio.server(options=OPTIONS)
    handler = grpc.stream_stream_rpc_method_handler(_stream)  # neither parses nor serialises
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"Stream": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"listening on 127.0.0.1:{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(_serve())
