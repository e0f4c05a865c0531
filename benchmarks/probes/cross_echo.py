"""The yardstick of calls across processes: pyzmq ROUTER here, DEALER in another process, msgpack, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import zmq

from benchmarks.modules import MIB
from benchmarks.probes.common import Answer, require, seconds_each
from benchmarks.probes.cross_ours import LARGE, ROUND_TRIP, ROUND_TRIP_KEPT

READY, CALL, STOP = 0, 1, 2


def echo(endpoint: str) -> None:
    """The other process: answers until it is told to stop."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(endpoint)
        socket.send(msgpack.packb([READY, 0, b""]))
        while True:
            kind, number, payload = msgpack.unpackb(socket.recv())
            if kind == STOP:
                return
            socket.send(msgpack.packb([kind, number, payload]))


@contextmanager
def peer() -> Iterator[tuple[zmq.Socket[bytes], bytes]]:
    """The ROUTER and the identity of the process that answers."""
    with tempfile.TemporaryDirectory() as place, zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        endpoint = f"ipc://{place}/echo"
        socket.bind(endpoint)
        process = subprocess.Popen([sys.executable, "-m", "benchmarks.probes.cross_echo", endpoint])
        identity, _ = socket.recv_multipart()
        try:
            yield socket, identity
        finally:
            socket.send_multipart([identity, msgpack.packb([STOP, 0, b""])])
            process.wait(10)


def measure(task: dict[str, Any]) -> Answer:
    """Figures: seconds of a synchronous round trip, of a small message and of one of a mebibyte."""
    with peer() as (socket, identity):

        def call(payload: bytes) -> bytes:
            socket.send_multipart([identity, msgpack.packb([CALL, 7, payload])])
            _, answer = socket.recv_multipart()
            kind, number, got = msgpack.unpackb(answer)
            require((kind, number), (CALL, 7), "the echo")
            return bytes(got)

        small, large = b"sixteen bytes...", bytes(range(256)) * (MIB // 256)
        require(call(large), large, "the echo")
        trip = seconds_each(lambda: call(small)), "s"
        figures = {ROUND_TRIP: trip, ROUND_TRIP_KEPT: trip, LARGE: (seconds_each(lambda: call(large)), "s")}
    return {"version": f"pyzmq {zmq.__version__}, libzmq {zmq.zmq_version()}", "figures": figures}


if __name__ == "__main__":
    echo(sys.argv[1])
