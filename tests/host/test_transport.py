"""The host's socket, with peers that are plain DEALERs: connections come and go without disturbing one another."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator

import pytest
import zmq

from sandboxhost.transport import Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport()
    yield made
    made.close()


class Peer:
    """What a worker's socket is to the transport."""

    def __init__(self, transport: Transport) -> None:
        self.id = b"\x01" + os.urandom(15)
        endpoint, listener = transport.open_endpoint(self.id)
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        with listener:
            self.socket.setsockopt(zmq.USE_FD, socket.dup(listener.fileno()))
            self.socket.bind(endpoint)

        end = time.monotonic() + 10
        while not self.socket.poll(1, zmq.POLLOUT):
            assert transport.receive() == [] and time.monotonic() < end, "no handshake"

    def close(self) -> None:
        self.socket.close()


def receive(transport: Transport, wanted: int) -> list[tuple[bytes, object]]:
    """So many frames; fewer when they do not come."""
    found: list[tuple[bytes, object]] = []
    end = time.monotonic() + 10
    while len(found) < wanted and time.monotonic() < end:
        select.select([transport.fd], [], [], 0.01)
        found += transport.receive()
    return found


def test_a_connection_that_is_closed_twice_takes_no_other_with_it(transport: Transport) -> None:
    """Muted when it breaks the protocol, closed when it is dead: between the two others have connected, whose sessions libzmq
    may have put where the first one's was."""
    first = Peer(transport)
    first.socket.send(b"hello")
    assert receive(transport, 1) == [(first.id, b"hello")]
    transport.mute(first.id)
    time.sleep(0.05)  # libzmq's thread frees the session
    others = [Peer(transport) for _ in range(8)]
    for peer in others:
        peer.socket.send(b"1")
    assert sorted(receive(transport, 8)) == sorted((peer.id, b"1") for peer in others)
    transport.close_endpoint(first.id)
    for peer in others:
        peer.socket.send(b"2")
    assert sorted(receive(transport, 8)) == sorted((peer.id, b"2") for peer in others)
    for peer in (first, *others):
        transport.close_endpoint(peer.id)
        peer.close()


def test_nothing_of_a_muted_peer_is_delivered_and_nothing_reaches_it(transport: Transport) -> None:
    loud, calm = Peer(transport), Peer(transport)
    for _ in range(3):
        loud.socket.send(b"loud")
    assert len(receive(transport, 3)) == 3
    for _ in range(100):
        loud.socket.send(b"loud")
    transport.mute(loud.id)
    calm.socket.send(b"calm")
    assert receive(transport, 1) == [(calm.id, b"calm")]
    transport.send(calm.id, b"answer")
    assert calm.socket.poll(10_000) and calm.socket.recv() == b"answer"
    for peer in (loud, calm):
        transport.close_endpoint(peer.id)
        peer.close()
