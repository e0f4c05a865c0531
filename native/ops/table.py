"""The operation table: every instruction once; enum, validator signatures, handlers, lowering and listings derive from it.

A row is ``Op(name, opcode, signature, ...)``. Opcodes behind a prefix byte are written ``0xFC00 | n``.
Signatures read ``"params:results"`` with one letter a value: ``i`` i32, ``I`` i64, ``f`` f32, ``F`` f64.
Instructions whose type depends on context (control, variables, tables, references, parametric) have no
signature and are typed by hand in ``validate_body.c``; their ``kind`` tells which rule.

``c`` is the C body of a numeric row: an expression over ``a`` (and ``b``) of the C types u32, u64, float, double,
or a macro of ``numeric.h`` that may trap. The semantics of a numeric instruction are written here and nowhere else.
Source: WebAssembly Core Specification 2.0, chapters 4.3 (numerics) and 5.4 (instructions).
"""

from __future__ import annotations

from dataclasses import dataclass

# Immediates, as the decoder reads them after the opcode (specification 5.4).
IMMEDIATES = (
    "none", "block", "label", "label_table", "func", "type_table", "local", "global", "table",
    "memarg", "memory", "i32", "i64", "f32", "f64", "reftype", "types", "elem", "data",
    "memory_memory", "data_memory", "elem_table", "table_table",
)

# What a row is; the validator and the lowering switch over this.
KINDS = (
    "illegal", "refused", "control", "parametric", "variable", "table", "reference", "bulk",
    "const", "unary", "binary", "compare", "test", "load", "store", "memory",
)

LETTERS = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}


@dataclass(frozen=True)
class Op:
    """One instruction of the binary format."""

    name: str
    opcode: int
    signature: str = ""
    kind: str = "control"
    imm: str = "none"
    feature: str = ""          # the feature it needs beyond WebAssembly 1.0; "" = none
    c: str = ""                # numeric rows: the result as a C expression over a and b
    traps: bool = False
    commutative: bool = False
    swap: str = ""             # compare rows: the comparison with its operands exchanged
    negate: str = ""           # compare rows: the opposite comparison, where one exists (not for floats)
    width: int = 0             # loads and stores: bytes accessed; also the natural alignment
    ctype: str = ""            # loads and stores: the C type in memory

    @property
    def ident(self) -> str:
        """The name as a C identifier."""
        return self.name.replace(".", "_")

    @property
    def params(self) -> str:
        return self.signature.partition(":")[0]

    @property
    def results(self) -> str:
        return self.signature.partition(":")[2]


def _control() -> list[Op]:
    return [
        Op("unreachable", 0x00, traps=True),
        Op("nop", 0x01),
        Op("block", 0x02, imm="block"),
        Op("loop", 0x03, imm="block"),
        Op("if", 0x04, imm="block"),
        Op("else", 0x05),
        Op("end", 0x0B),
        Op("br", 0x0C, imm="label"),
        Op("br_if", 0x0D, imm="label"),
        Op("br_table", 0x0E, imm="label_table"),
        Op("return", 0x0F),
        Op("call", 0x10, imm="func", traps=True),
        Op("call_indirect", 0x11, imm="type_table", traps=True),
        Op("drop", 0x1A, kind="parametric"),
        Op("select", 0x1B, kind="parametric"),
        Op("select_t", 0x1C, kind="parametric", imm="types", feature="reference-types"),
        Op("local.get", 0x20, kind="variable", imm="local"),
        Op("local.set", 0x21, kind="variable", imm="local"),
        Op("local.tee", 0x22, kind="variable", imm="local"),
        Op("global.get", 0x23, kind="variable", imm="global"),
        Op("global.set", 0x24, kind="variable", imm="global"),
        Op("table.get", 0x25, kind="table", imm="table", feature="reference-types", traps=True),
        Op("table.set", 0x26, kind="table", imm="table", feature="reference-types", traps=True),
        Op("ref.null", 0xD0, kind="reference", imm="reftype", feature="reference-types"),
        Op("ref.is_null", 0xD1, kind="reference", feature="reference-types"),
        Op("ref.func", 0xD2, kind="reference", imm="func", feature="reference-types"),
        Op("memory.size", 0x3F, ":i", kind="memory", imm="memory"),
        Op("memory.grow", 0x40, "i:i", kind="memory", imm="memory"),
        Op("i32.const", 0x41, ":i", kind="const", imm="i32"),
        Op("i64.const", 0x42, ":I", kind="const", imm="i64"),
        Op("f32.const", 0x43, ":f", kind="const", imm="f32"),
        Op("f64.const", 0x44, ":F", kind="const", imm="f64"),
        Op("memory.init", 0xFC08, "iii:", kind="bulk", imm="data_memory", feature="bulk-memory", traps=True),
        Op("data.drop", 0xFC09, ":", kind="bulk", imm="data", feature="bulk-memory"),
        Op("memory.copy", 0xFC0A, "iii:", kind="bulk", imm="memory_memory", feature="bulk-memory", traps=True),
        Op("memory.fill", 0xFC0B, "iii:", kind="bulk", imm="memory", feature="bulk-memory", traps=True),
        Op("table.init", 0xFC0C, "iii:", kind="bulk", imm="elem_table", feature="bulk-memory", traps=True),
        Op("elem.drop", 0xFC0D, ":", kind="bulk", imm="elem", feature="bulk-memory"),
        Op("table.copy", 0xFC0E, "iii:", kind="bulk", imm="table_table", feature="bulk-memory", traps=True),
        Op("table.grow", 0xFC0F, kind="table", imm="table", feature="reference-types"),
        Op("table.size", 0xFC10, ":i", kind="table", imm="table", feature="reference-types"),
        Op("table.fill", 0xFC11, kind="table", imm="table", feature="reference-types", traps=True),
    ]


def _memory() -> list[Op]:
    loads = [
        ("i32.load", 0x28, "i", "u32"), ("i64.load", 0x29, "I", "u64"),
        ("f32.load", 0x2A, "f", "float"), ("f64.load", 0x2B, "F", "double"),
        ("i32.load8_s", 0x2C, "i", "s8"), ("i32.load8_u", 0x2D, "i", "u8"),
        ("i32.load16_s", 0x2E, "i", "s16"), ("i32.load16_u", 0x2F, "i", "u16"),
        ("i64.load8_s", 0x30, "I", "s8"), ("i64.load8_u", 0x31, "I", "u8"),
        ("i64.load16_s", 0x32, "I", "s16"), ("i64.load16_u", 0x33, "I", "u16"),
        ("i64.load32_s", 0x34, "I", "s32"), ("i64.load32_u", 0x35, "I", "u32"),
    ]
    stores = [
        ("i32.store", 0x36, "i", "u32"), ("i64.store", 0x37, "I", "u64"),
        ("f32.store", 0x38, "f", "float"), ("f64.store", 0x39, "F", "double"),
        ("i32.store8", 0x3A, "i", "u8"), ("i32.store16", 0x3B, "i", "u16"),
        ("i64.store8", 0x3C, "I", "u8"), ("i64.store16", 0x3D, "I", "u16"), ("i64.store32", 0x3E, "I", "u32"),
    ]
    width = {"u8": 1, "s8": 1, "u16": 2, "s16": 2, "u32": 4, "s32": 4, "float": 4, "u64": 8, "double": 8}
    rows = [
        Op(n, o, f"i:{t}", "load", "memarg", traps=True, width=width[c], ctype=c) for n, o, t, c in loads
    ]
    rows += [
        Op(n, o, f"i{t}:", "store", "memarg", traps=True, width=width[c], ctype=c) for n, o, t, c in stores
    ]
    return rows


def _integer(prefix: str, letter: str, bits: int, base: dict[str, int]) -> list[Op]:
    u, s = f"u{bits}", f"s{bits}"
    two, one, test = f"{letter}{letter}:{letter}", f"{letter}:{letter}", f"{letter}{letter}:i"
    mask = bits - 1

    def op(name: str, offset: int, sig: str, kind: str, c: str, **more: object) -> Op:
        return Op(f"{prefix}.{name}", base[kind] + offset, sig, kind, c=c, **more)  # type: ignore[arg-type]

    compares = [
        ("eq", "a == b", "eq", "ne"), ("ne", "a != b", "ne", "eq"),
        ("lt_s", f"({s})a < ({s})b", "gt_s", "ge_s"), ("lt_u", "a < b", "gt_u", "ge_u"),
        ("gt_s", f"({s})a > ({s})b", "lt_s", "le_s"), ("gt_u", "a > b", "lt_u", "le_u"),
        ("le_s", f"({s})a <= ({s})b", "ge_s", "gt_s"), ("le_u", "a <= b", "ge_u", "gt_u"),
        ("ge_s", f"({s})a >= ({s})b", "le_s", "lt_s"), ("ge_u", "a >= b", "le_u", "lt_u"),
    ]
    rows = [op("eqz", 0, f"{letter}:i", "test", "a == 0")]
    rows += [
        op(n, i, test, "compare", c, swap=f"{prefix}.{w}", negate=f"{prefix}.{g}")
        for i, (n, c, w, g) in enumerate(compares)
    ]
    rows += [
        op("clz", 0, one, "unary", f"CLZ{bits}(a)"),
        op("ctz", 1, one, "unary", f"CTZ{bits}(a)"),
        op("popcnt", 2, one, "unary", f"POPCNT{bits}(a)"),
        op("add", 0, two, "binary", f"({u})(a + b)", commutative=True),
        op("sub", 1, two, "binary", f"({u})(a - b)"),
        op("mul", 2, two, "binary", f"({u})(a * b)", commutative=True),
        op("div_s", 3, two, "binary", f"DIV_S{bits}(a, b)", traps=True),
        op("div_u", 4, two, "binary", "DIV_U(a, b)", traps=True),
        op("rem_s", 5, two, "binary", f"REM_S{bits}(a, b)", traps=True),
        op("rem_u", 6, two, "binary", "REM_U(a, b)", traps=True),
        op("and", 7, two, "binary", "a & b", commutative=True),
        op("or", 8, two, "binary", "a | b", commutative=True),
        op("xor", 9, two, "binary", "a ^ b", commutative=True),
        op("shl", 10, two, "binary", f"({u})(a << (b & {mask}))"),
        op("shr_s", 11, two, "binary", f"({u})(({s})a >> (b & {mask}))"),
        op("shr_u", 12, two, "binary", f"a >> (b & {mask})"),
        op("rotl", 13, two, "binary", f"({u})(a << (b & {mask}) | a >> (-b & {mask}))"),
        op("rotr", 14, two, "binary", f"({u})(a >> (b & {mask}) | a << (-b & {mask}))"),
    ]
    return rows


def _floating(prefix: str, letter: str, base: dict[str, int]) -> list[Op]:
    two, one, test = f"{letter}{letter}:{letter}", f"{letter}:{letter}", f"{letter}{letter}:i"
    bits = 32 if letter == "f" else 64

    def op(name: str, offset: int, sig: str, kind: str, c: str, **more: object) -> Op:
        return Op(f"{prefix}.{name}", base[kind] + offset, sig, kind, c=c, **more)  # type: ignore[arg-type]

    compares = [
        ("eq", "a == b", "eq", "ne"), ("ne", "a != b", "ne", "eq"), ("lt", "a < b", "gt", ""),
        ("gt", "a > b", "lt", ""), ("le", "a <= b", "ge", ""), ("ge", "a >= b", "le", ""),
    ]
    unary = ["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"]
    rows = [
        op(n, i, test, "compare", c, swap=f"{prefix}.{w}", negate=f"{prefix}.{g}" if g else "")
        for i, (n, c, w, g) in enumerate(compares)
    ]
    rows += [op(n, i, one, "unary", f"F{bits}_{n.upper()}(a)") for i, n in enumerate(unary)]
    rows += [
        op("add", 0, two, "binary", f"F{bits}_ADD(a, b)"),
        op("sub", 1, two, "binary", "a - b"),
        op("mul", 2, two, "binary", f"F{bits}_MUL(a, b)"),
        op("div", 3, two, "binary", "a / b"),
        op("min", 4, two, "binary", f"F{bits}_MIN(a, b)"),
        op("max", 5, two, "binary", f"F{bits}_MAX(a, b)"),
        op("copysign", 6, two, "binary", f"F{bits}_COPYSIGN(a, b)"),
    ]
    return rows


def _conversions() -> list[Op]:
    plain = [
        ("i32.wrap_i64", 0xA7, "I:i", "(u32)a"),
        ("i32.trunc_f32_s", 0xA8, "f:i", "TRUNC(u32, s32, a, -2147483904.0f, 2147483648.0f)"),
        ("i32.trunc_f32_u", 0xA9, "f:i", "TRUNC(u32, u32, a, -1.0f, 4294967296.0f)"),
        ("i32.trunc_f64_s", 0xAA, "F:i", "TRUNC(u32, s32, a, -2147483649.0, 2147483648.0)"),
        ("i32.trunc_f64_u", 0xAB, "F:i", "TRUNC(u32, u32, a, -1.0, 4294967296.0)"),
        ("i64.extend_i32_s", 0xAC, "i:I", "(u64)(s64)(s32)a"),
        ("i64.extend_i32_u", 0xAD, "i:I", "(u64)a"),
        ("i64.trunc_f32_s", 0xAE, "f:I", "TRUNC(u64, s64, a, -9223373136366403584.0f, 9223372036854775808.0f)"),
        ("i64.trunc_f32_u", 0xAF, "f:I", "TRUNC(u64, u64, a, -1.0f, 18446744073709551616.0f)"),
        ("i64.trunc_f64_s", 0xB0, "F:I", "TRUNC(u64, s64, a, -9223372036854777856.0, 9223372036854775808.0)"),
        ("i64.trunc_f64_u", 0xB1, "F:I", "TRUNC(u64, u64, a, -1.0, 18446744073709551616.0)"),
        ("f32.convert_i32_s", 0xB2, "i:f", "(float)(s32)a"),
        ("f32.convert_i32_u", 0xB3, "i:f", "(float)a"),
        ("f32.convert_i64_s", 0xB4, "I:f", "(float)(s64)a"),
        ("f32.convert_i64_u", 0xB5, "I:f", "(float)a"),
        ("f32.demote_f64", 0xB6, "F:f", "(float)a"),
        ("f64.convert_i32_s", 0xB7, "i:F", "(double)(s32)a"),
        ("f64.convert_i32_u", 0xB8, "i:F", "(double)a"),
        ("f64.convert_i64_s", 0xB9, "I:F", "(double)(s64)a"),
        ("f64.convert_i64_u", 0xBA, "I:F", "(double)a"),
        ("f64.promote_f32", 0xBB, "f:F", "(double)a"),
        ("i32.reinterpret_f32", 0xBC, "f:i", "BITS32(a)"),
        ("i64.reinterpret_f64", 0xBD, "F:I", "BITS64(a)"),
        ("f32.reinterpret_i32", 0xBE, "i:f", "FLOAT32(a)"),
        ("f64.reinterpret_i64", 0xBF, "I:F", "FLOAT64(a)"),
    ]
    signs = [
        ("i32.extend8_s", 0xC0, "i:i", "(u32)(s32)(s8)a"), ("i32.extend16_s", 0xC1, "i:i", "(u32)(s32)(s16)a"),
        ("i64.extend8_s", 0xC2, "I:I", "(u64)(s64)(s8)a"), ("i64.extend16_s", 0xC3, "I:I", "(u64)(s64)(s16)a"),
        ("i64.extend32_s", 0xC4, "I:I", "(u64)(s64)(s32)a"),
    ]
    low = {"s32": "INT32_MIN", "u32": "0", "s64": "INT64_MIN", "u64": "0"}
    high = {"s32": "INT32_MAX", "u32": "UINT32_MAX", "s64": "INT64_MAX", "u64": "UINT64_MAX"}
    rows = [Op(n, o, sig, "unary", c=c, traps=c.startswith("TRUNC")) for n, o, sig, c in plain]
    rows += [Op(n, o, sig, "unary", feature="sign-extension", c=c) for n, o, sig, c in signs]
    saturating = 0xFC00
    for to in (32, 64):
        for source in (32, 64):
            for sign in "su":
                c = f"{sign}{to}"
                bound = {("s", 32): "2147483648.0", ("u", 32): "4294967296.0",
                         ("s", 64): "9223372036854775808.0", ("u", 64): "18446744073709551616.0"}[sign, to]
                rows.append(Op(
                    f"i{to}.trunc_sat_f{source}_{sign}", saturating,
                    f"{'f' if source == 32 else 'F'}:{'i' if to == 32 else 'I'}", "unary",
                    feature="nontrapping-float-to-int",
                    c=f"TRUNC_SAT(u{to}, {c}, a, {'-' + bound if sign == 's' else '0.0'}, {bound}, {low[c]}, {high[c]})",
                ))
                saturating += 1
    return rows


OPS: tuple[Op, ...] = tuple(sorted(
    _control() + _memory()
    + _integer("i32", "i", 32, {"test": 0x45, "compare": 0x46, "unary": 0x67, "binary": 0x6A})
    + _integer("i64", "I", 64, {"test": 0x50, "compare": 0x51, "unary": 0x79, "binary": 0x7C})
    + _floating("f32", "f", {"compare": 0x5B, "unary": 0x8B, "binary": 0x92})
    + _floating("f64", "F", {"compare": 0x61, "unary": 0x99, "binary": 0xA0})
    + _conversions(),
    key=lambda op: op.opcode,
))

# Opcodes of later versions and proposals: refused with the name of the feature (first, last, feature).
REFUSED: tuple[tuple[int, int, str], ...] = (
    (0x06, 0x0A, "exceptions"), (0x12, 0x13, "tail-call"), (0x14, 0x15, "function-references"),
    (0x18, 0x19, "exceptions"), (0x1F, 0x1F, "exceptions"),
    (0xD3, 0xD3, "gc"), (0xD4, 0xD6, "function-references"),
    (0xFB00, 0xFB1E, "gc"), (0xFD00, 0xFDFF, "simd"), (0xFD100, 0xFD113, "relaxed-simd"), (0xFE00, 0xFE4E, "threads"),
)

BY_NAME = {op.name: op for op in OPS}
assert len(BY_NAME) == len(OPS) == len({op.opcode for op in OPS})
