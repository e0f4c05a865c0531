"""The wire: what is encoded comes back; whatever else arrives is a ProtocolError that says what is wrong, and costs little."""

from __future__ import annotations

import tracemalloc
from typing import Any, get_type_hints

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandboxhost import errors, options, wire, wire_types
from sandboxhost.errors import ProtocolError, SandboxError
from sandboxhost.statistics import Usage
from sandboxhost.values import ExternKind, FunctionType, GlobalType, MemoryType, TableType, ValueType
from sandboxhost.wire import Direction

NUMBERS = st.integers(0, 2**63 - 1)
CLASSES = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, SandboxError)]
FIELDS: dict[Any, st.SearchStrategy[Any]] = {
    int: NUMBERS,
    wire.Signed: st.integers(-1, 2**63 - 1),
    str: st.text(max_size=50),
    bytes: st.binary(max_size=100),
    bool: st.booleans(),
}


def messages(direction: Direction) -> st.SearchStrategy[Any]:
    """Any message of a direction."""
    classes = list(wire._KINDS[direction].values())
    return st.one_of([st.builds(cls, **{n: FIELDS[t] for n, t in get_type_hints(cls).items()}) for cls in classes])


@pytest.mark.parametrize("direction", Direction)
@given(data=st.data())
def test_a_frame_of_messages_comes_back(direction: Direction, data: st.DataObject) -> None:
    sent = data.draw(st.lists(messages(direction), max_size=10))
    frame = wire.encode(sent)
    assert wire.decode(frame, direction) == sent
    assert [type(m) for m in wire.decode(frame, direction)] == [type(m) for m in sent]


@pytest.mark.parametrize("direction", Direction)
@given(frame=st.binary(max_size=300))
def test_malformed_frames_of_random_bytes_are_messages_or_a_protocol_error(direction: Direction, frame: bytes) -> None:
    try:
        decoded = wire.decode(frame, direction)
    except ProtocolError as exc:
        assert str(exc)
    else:
        assert all(type(m) in wire._KINDS[direction].values() for m in decoded)


@given(data=st.data())
def test_a_frame_that_is_cut_anywhere_is_refused(data: st.DataObject) -> None:
    frame = wire.encode([wire.Call(1, 2, 0, "add", wire.Signed(-1), wire.Signed(5), b"12345678")])
    cut = data.draw(st.integers(1, len(frame) - 1))
    with pytest.raises(ProtocolError):
        wire.decode(frame[:cut], Direction.TO_WORKER)


@given(
    data=st.data(),
    value=st.one_of(st.none(), st.integers(), st.text(max_size=5), st.binary(max_size=5), st.booleans(), st.floats()),
)
def test_a_field_of_another_type_is_named(data: st.DataObject, value: Any) -> None:
    fields: list[Any] = [1, 2, 0, "add", -1, 5, b"12345678"]
    position = data.draw(st.integers(0, len(fields) - 1))
    if type(value) is type(fields[position]) or (type(value) is int and not -(2**63) <= value < 2**64):
        return
    fields[position] = value
    with pytest.raises(ProtocolError, match=rf"Call\.{wire.Call._fields[position]}"):
        wire.decode(msgpack.packb([3, *fields]), Direction.TO_WORKER)


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (b"\x90", "unknown kind"),
        (b"\x01", "unknown kind"),
        (b"\x91\xcc\xff", "unknown kind 255"),
        (b"\x91\x12", "unknown kind 18"),
        (b"\x91\x03", "Call: expected 7 fields, got 0"),
        (b"\x92\x06\xa1x", "Cancel.id: expected int, got str"),
        (b"\x92\x06\xc3", "Cancel.id: expected int, got bool"),
        (b"\x92\x06\xff", "Cancel.id: -1 is out of range"),
        (b"\x92\x06\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "is out of range"),
        (b"\xc1", "not msgpack"),
        (b"\x92\x06\x01\x92", "cut off"),
        (b"\xdd\xff\xff\xff\xff", "not msgpack"),
        (b"\x81\x01\x01", "not msgpack"),
        (b"\x92\x06\xd6\xff\0\0\0\0", "not msgpack"),
    ],
)
def test_the_words_name_what_is_wrong(frame: bytes, words: str) -> None:
    with pytest.raises(ProtocolError, match=words):
        wire.decode(frame, Direction.TO_WORKER)


@pytest.mark.parametrize(
    "bomb", [b"\x9f" * 5000, b"\xdc\x00\x10" * 1700, b"\xdd\xff\xff\xff\xff" * 1000, b"\x8f" * 5000, b"\xc6\xff\xff\xff\xff"]
)
def test_a_bomb_of_headers_costs_little(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError):
            wire.decode(bomb, Direction.TO_HOST)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_frame_that_is_too_large_is_refused_on_both_sides() -> None:
    most = wire.MAX_FRAME_TO_HOST
    with pytest.raises(ProtocolError, match=f"more than {most}"):
        wire.decode(bytes(most + 1), Direction.TO_HOST)
    with pytest.raises(ProtocolError, match=f"more than {most}"):
        wire.encode([wire.Output(1, 1, bytes(most))], most)
    assert len(wire.encode([wire.Output(1, 1, bytes(most - 9))], most)) == most
    with pytest.raises(ProtocolError, match=f"more than {wire.MAX_FRAME}"):
        wire.encode([wire.Call(1, 1, 0, "", wire.Signed(-1), wire.Signed(-1), bytes(wire.MAX_FRAME))])


FIELD = st.integers(-1, 2**64 - 1) | st.binary(max_size=9) | st.text(max_size=3) | st.booleans()
SHORT = {18: wire.Result, 27: wire.ResultShared, 4: wire.Run}


@st.composite
def nearly_short(draw: st.DrawFn) -> bytes:
    """Of a kind that a short decoder takes, with fields that mostly are of the right types."""
    kind = draw(st.sampled_from(list(SHORT)))
    fields = [b"1234" if name in ("payload", "options") else 1 for name in SHORT[kind]._fields]
    for position in draw(st.lists(st.integers(0, len(fields) - 1), max_size=2)):
        fields[position] = draw(FIELD)
    changed = fields[: draw(st.integers(len(fields) - 1, len(fields)))] + draw(st.lists(FIELD, max_size=1))
    return bytes(msgpack.packb([kind, *changed])) + draw(st.binary(max_size=1))


@given(frame=st.binary(max_size=60) | nearly_short())
def test_the_short_decoders_take_nothing_that_the_long_one_would_not(frame: bytes) -> None:
    for decoder, direction, kinds in (
        (wire.decode_result, Direction.TO_HOST, (wire.Result, wire.ResultShared)),
        (wire.decode_run, Direction.TO_WORKER, (wire.Run,)),
    ):
        found = decoder(frame)
        try:
            messages = wire.decode(frame, direction)
        except errors.ProtocolError:
            messages = []
        assert (messages == [found]) if found is not None else not (len(messages) == 1 and isinstance(messages[0], kinds))


@given(ids=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3), payload=st.binary(max_size=40))
def test_the_short_decoder_takes_one_result_and_no_more(ids: list[int], payload: bytes) -> None:
    results = [wire.Result(i, i, i, i, payload) for i in ids]
    assert wire.decode_result(wire.encode(results)) == (results[0] if len(results) == 1 else None)


def test_the_short_decoders_take_what_is_sent() -> None:
    ended = wire.ResultShared(7, 1, 2, 65536, bytes(4), 2**20)
    run = wire.Run(7, 1, 0, wire.Signed(-1), wire.Signed(-1), b"options", wire.Signed(0), 5, 4096, 8192)
    assert wire.decode_result(wire.encode([ended])) == ended
    assert wire.decode_run(wire.encode([run])) == run
    assert wire.decode_run(wire.encode([run, run])) is wire.decode_result(wire.encode([ended, ended])) is None


def test_a_direction_has_its_own_kinds() -> None:
    with pytest.raises(ProtocolError, match="host to worker: message 0: unknown kind 18"):
        wire.decode(wire.encode([wire.Result(1, 0, 0, 0, b"")]), Direction.TO_WORKER)


def test_an_encoder_that_failed_works_again() -> None:
    with pytest.raises(ProtocolError, match="Cancel"):
        wire.encode([wire.Cancel(1), wire.Cancel(2**70)])
    assert wire.decode(wire.encode([wire.Cancel(3)]), Direction.TO_WORKER) == [wire.Cancel(3)]


@given(
    code=st.text(max_size=10) | st.sampled_from(["trap", "link", "deadline"]),
    text=st.text(max_size=50),
    detail=st.binary(max_size=50),
)
def test_a_failure_from_anywhere_is_an_error_of_ours(code: str, text: str, detail: bytes) -> None:
    try:
        exc = wire.failure(wire.Failed(1, code, text, detail, 0, 0, 0))
    except ProtocolError:
        return
    assert type(exc) in CLASSES and all(c.isprintable() or c == "\n" for c in str(exc))


def test_a_failure_with_a_large_detail_is_cut_or_refused() -> None:
    with pytest.raises(ProtocolError, match=r"Failed\.detail"):
        wire.failure(wire.Failed(1, "trap", "", bytes(wire.MAX_DETAIL + 1), 0, 0, 0))
    assert wire.failed(1, SandboxError("x" * 10**6), Usage(1, 2, 3)).text == "x" * 4096


@given(
    st.one_of(
        st.tuples(st.just(ExternKind.FUNC), st.builds(FunctionType, *[st.lists(st.sampled_from(ValueType)).map(tuple)] * 2)),
        st.tuples(st.just(ExternKind.TABLE), st.builds(TableType, st.sampled_from(ValueType), NUMBERS, st.none() | NUMBERS)),
        st.tuples(st.just(ExternKind.MEMORY), st.builds(MemoryType, NUMBERS, st.none() | NUMBERS)),
        st.tuples(st.just(ExternKind.GLOBAL), st.builds(GlobalType, st.sampled_from(ValueType), st.booleans())),
    )
)
def test_extern_types_come_back(pair: tuple[ExternKind, Any]) -> None:
    kind, type_ = pair
    message = wire.ModuleExport("name", *wire_types.fields(kind, type_))
    (decoded,) = wire.decode(wire.encode([message]), Direction.FROM_COMPILER)
    assert wire_types.type_of(decoded) == type_


@pytest.mark.parametrize(
    "message",
    [
        wire.ModuleExport("x", 9, b"", b"", 0, wire.Signed(-1), False),
        wire.ModuleExport("x", 0, b"\x01", b"", 0, wire.Signed(-1), False),
        wire.ModuleExport("x", 1, b"", b"", 0, wire.Signed(-1), False),
        wire.ModuleExport("x", 3, b"\x7f\x7f", b"", 0, wire.Signed(-1), False),
    ],
)
def test_extern_types_that_do_not_exist_are_refused(message: wire.ModuleExport) -> None:
    with pytest.raises(ProtocolError, match="ModuleExport"):
        wire_types.type_of(message)


RECORDS: list[Any] = [
    options.LoadOptions("fresh", 0, (("app", "f"),), (("/data", True),), ("A=b",), ("name",), None, 7, {"memory": 1}, 100),
    options.RunOptions(("a", "b"), (), b"stdin", "capture"),
    options.WorkerOptions("ipc://x", bytes(16), 2, {}),
    options.WorkerOptions("ipc://x", bytes(16), 2, {}, (True, False)),
    options.CompileOptions(None, True, False, 8, {}, "auto", None),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_option_records_come_back(record: Any) -> None:
    assert type(record).decode(record.encode()) == record


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_option_records_name_what_is_wrong(record: Any) -> None:
    cls = type(record)
    for name in cls._fields:
        missing = {key: value for key, value in record._asdict().items() if key != name}
        with pytest.raises(ProtocolError, match=rf"{cls.__name__}\.{name}: missing"):
            cls.decode(msgpack.packb(missing))
        with pytest.raises(ProtocolError, match=rf"{cls.__name__}\.{name}: unexpected float"):
            cls.decode(msgpack.packb({**record._asdict(), name: 0.5}))
    with pytest.raises(ProtocolError, match="unknown field"):
        cls.decode(msgpack.packb({**record._asdict(), "more": 1}))
    with pytest.raises(ProtocolError, match="expected a map"):
        cls.decode(msgpack.packb([1]))
