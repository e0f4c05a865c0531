"""A compromised worker tries what it can to its host: bounded memory, a quick end, neighbours that notice nothing."""

from __future__ import annotations

import re

import pytest

from sandboxhost import DeadlineExceeded, WorkerLost
from sandboxworker.native import sanitized

from . import compromised
from .attack import Figures, attack, attack_by_line

GROWTH = (64 if not sanitized() else 512) * 2**20
"""Bytes. A sanitizer keeps what was freed (its quarantine), and puts zones around all that is not."""
SECONDS = 10.0
"""Before the worker is dead: ten times what is promised, for a machine that has other work."""

FRAMING = "it broke the protocol"
TORN = "broke the protocol: (ZMTP flags|a ZMTP command|a message of several parts|frame: )"
"""The worker's own libzmq may still have had something to say, which then lies in the middle of what the attack writes."""
WITH_A_NEIGHBOUR = {
    "more_for_ever": "a message of several parts",
    "more_of_large_parts": "a message of several parts",
    "a_tree_of_arrays": "not msgpack within bounds",
    "empty_arrays": "unknown kind",
    "forged_ids": r"Result\.id: call \d+ is not in flight on this worker",
    "large_outputs": r"Output\.data: call \d+ wrote \d+ bytes, more than a worker lets pass",
    "stderr": "it wrote more than 1048576 bytes to stderr",
}
ALONE = {
    "commands_for_ever": "a ZMTP command after the handshake",
    "empty_frames_for_ever": "frame: 0 bytes, not 1 to",
    "a_frame_of_a_terabyte": r"frame: 1099511627776 bytes, not 1 to",
    "noise": FRAMING,
    "nested_arrays": "not msgpack within bounds",
    "a_tree_in_a_small_frame": "unknown kind",
    "announced_sizes": "not msgpack within bounds",
    "maps_and_extensions": "not msgpack within bounds",
    "outputs_in_a_large_frame": "more than 4096 messages in a frame",
    "results_again": "",
    "outputs": r"Output\.data: call \d+ wrote \d+ bytes in \d+ messages",
    "output_elsewhere": r"the worker shares no memory|call \d+ has no room for 1099511627776 bytes",
    "host_calls": r"HostCall\.sequence: \d+ while call \d+ waits for \d+",
    "readies": r"Ready",
    "loads": r"Loaded\.id: \d+ is no load of this worker",
    "datagrams": "unknown kind",
    "large_datagrams": FRAMING,
}
PATIENT = {"a_frame_that_never_ends", "a_byte_at_a_time"}
"""Nothing that they do is forbidden, but that there is no answer."""


def check(figures: Figures) -> None:
    """What holds whatever was tried."""
    assert figures.after.workers_lost == 1, "one worker was lost, and no other"
    assert figures.growth <= GROWTH
    assert figures.killed_after < SECONDS
    assert figures.neighbour.made and not figures.neighbour.wrong
    assert figures.after.pending == 0 and figures.after.accepted == figures.after.ended


def check_reason(figures: Figures, words: str) -> None:
    """The call during which it happened is lost, for that reason."""
    (error,) = figures.failed
    assert isinstance(error, WorkerLost) and error.maybe_ran
    assert re.search(f"{words}|{TORN}", error.reason), error.reason


def test_every_attack_is_tried() -> None:
    assert {*WITH_A_NEIGHBOUR, *ALONE, *PATIENT} == {*compromised.functions()}


@pytest.mark.parametrize("name", WITH_A_NEIGHBOUR)
def test_a_neighbour_notices_nothing(name: str) -> None:
    figures = attack(name)
    check(figures)
    check_reason(figures, WITH_A_NEIGHBOUR[name])


@pytest.mark.parametrize("name", ALONE)
def test_the_host_is_not_hurt(name: str) -> None:
    figures = attack_by_line(name)
    check(figures)
    if name == "results_again":  # the first of them was the answer
        assert figures.failed == [] and figures.after.protocol_errors == 1
    else:
        check_reason(figures, ALONE[name])


@pytest.mark.parametrize("name", sorted(PATIENT))
def test_what_never_ends_ends_at_the_deadline(name: str) -> None:
    figures = attack(name, deadline=0.1)
    check(figures)
    assert figures.failed and all(isinstance(error, DeadlineExceeded) for error in figures.failed)
