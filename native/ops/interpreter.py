"""The interpreter's operations: every operand form of every row, derived from the operation table.

An operation is a stream of u16 units: its number, then its operands. Operand forms, one letter each:
``s`` a slot of the frame (1 unit), ``a`` the accumulator of the operand's class (0 units), ``i`` an immediate
(i32, f32: 2 units; i64, f64: 4 units). Classes: int (i32, i64, references), f32, f64, one accumulator each.
Every operation with a result exists twice: number n leaves it in the accumulator only, n + 1 (``_d``) also
writes the slot named by its last unit, so that the lowering can still choose when the operation stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from table import OPS, Op

FORMS = "sai"
WIDE = {"i": 2, "I": 4, "f": 2, "F": 4}
# Address forms of loads and stores beyond one operand: the sum of two, wrapped to 32 bits as i32.add does.
SUMS = ("ss", "as", "si", "ai")


@dataclass(frozen=True)
class Handler:
    """One operation of the interpreter: name, operands for the disassembler, C body."""

    name: str
    operands: str  # one letter a operand: see native/src/disasm.c
    body: str


def _read(letter: str, form: str, at: int) -> tuple[str, int, str]:
    """C expression for an operand, the units it takes, its disassembly letters."""
    if form == "a":
        return {"i": "(u32)ACC", "I": "ACC", "f": "FACC", "F": "DACC"}[letter], 0, {"f": "b", "F": "c"}.get(letter, "a")
    if form == "s":
        macro = {"i": "SLOT32", "I": "SLOT64", "f": "SLOTF", "F": "SLOTD"}[letter]
        return f"{macro}({at})", 1, "s"
    macro = {"i": "IMM32", "I": "IMM64", "f": "IMMF", "F": "IMMD"}[letter]
    return f"{macro}({at})", WIDE[letter], {"F": "I", "I": "I"}.get(letter, "i")


CTYPE = {"i": "u32", "I": "u64", "f": "float", "F": "double"}


def _result(name: str, letter: str, operands: str, prologue: str, value: str, units: int) -> list[Handler]:
    """The accumulator form and the slot form of an operation."""
    set_acc = {"i": f"ACC = (u32)({value});", "I": f"ACC = {value};", "f": f"FACC = {value};", "F": f"DACC = {value};"}[letter]
    store = {
        "i": f"FP[PC[{units}]] = ACC;",
        "I": f"FP[PC[{units}]] = ACC;",
        "f": f"SLOTF({units}) = FACC;",
        "F": f"SLOTD({units}) = DACC;",
    }[letter]
    return [
        Handler(name, operands, f"{prologue}{set_acc} NEXT({units});"),
        Handler(name + "_d", operands + "d", f"{prologue}{set_acc} {store} NEXT({units + 1});"),
    ]


def _operands(letters: str, forms: str, first: int = 1) -> tuple[str, int, str]:
    """Declarations of a, b; units used so far; disassembly letters."""
    at, text, dis = first, "", ""
    for variable, letter, form in zip("abc", letters, forms, strict=False):
        expression, units, shown = _read(letter, form, at)
        text += f"{CTYPE[letter]} {variable} = {expression}; "
        at += units
        dis += shown
    return text, at, dis


def binary_forms(op: Op) -> list[str]:
    """Operand forms of a two-operand row; the others are reached by swapping."""
    if op.commutative or op.kind == "compare":
        return ["ss", "as", "si", "ai"]
    return ["ss", "as", "sa", "si", "ai", "is", "ia"]


def _numeric() -> list[Handler]:
    out: list[Handler] = []
    for op in OPS:
        if op.kind == "unary":
            for form in "sa":
                text, at, dis = _operands(op.params, form)
                out += _result(f"{op.ident}_{form}", op.results, dis, text, op.c, at)
        elif op.kind in ("binary", "compare"):
            for forms in binary_forms(op):
                text, at, dis = _operands(op.params, forms)
                out += _result(f"{op.ident}_{forms}", op.results, dis, text, op.c, at)
    return out


def _branches() -> list[Handler]:
    """Compare and branch: when true, when false; with and without the charge of fuel."""
    out: list[Handler] = []

    def both(name: str, dis: str, text: str, condition: str, at: int) -> None:
        for metered in (False, True):
            charge = f"CHARGE({at}); " if metered else ""
            end = at + metered
            out.append(
                Handler(
                    name + ("_m" if metered else ""),
                    dis + ("f" if metered else "") + "r",
                    f"{charge}{text}if ({condition}) BRANCH({end}); NEXT({end + 2});",
                )
            )

    for op in OPS:
        if op.kind != "compare":
            continue
        for forms in binary_forms(op):
            text, at, dis = _operands(op.params, forms)
            both(f"br_{op.ident}_{forms}", dis, text, op.c, at)
            if not op.negate:
                both(f"brn_{op.ident}_{forms}", dis, text, f"!({op.c})", at)
    for form in "sa":
        text, at, dis = _operands("I", form)
        both(f"br_nz_{form}", dis, text, "a", at)
        both(f"br_z_{form}", dis, text, "!a", at)
    return out


def _address(form: str) -> tuple[str, int, str]:
    """Declaration of the effective address, units used so far, disassembly letters."""
    text, at, dis = _operands("ii", form)
    if form == "i":  # an immediate address already holds the offset
        return f"{text}u64 at = a; ", at, dis
    return f"{text}u64 at = (u64){'(u32)(a + b)' if len(form) == 2 else 'a'} + IMM32({at}); ", at + 2, dis + "o"


def _load(op: Op, check: str, form: str) -> list[Handler]:
    text, at, dis = _address(form)
    signed = op.ctype[0] == "s"
    cast = {"i": "(u32)(s32)" if signed else "(u32)", "I": "(u64)(s64)" if signed else "(u64)"}.get(op.results, "")
    text += f"{CHECKS[check]}(at, {op.width}); {CTYPE[op.results]} value = {cast}LOAD({op.ctype}, at); ACCESSED(); "
    return _result(f"{op.ident}_{check}{form}", op.results, dis, text, "value", at)


def _store(op: Op, check: str, form: str) -> list[Handler]:
    """Values: an immediate is an integer; only one operand can be the integer accumulator; behind a sum stands no accumulator."""
    text, at, dis = _address(form)
    letter, out = op.params[1], []
    for value_form in FORMS:
        integer = letter in "iI"
        if (value_form == "a" and (len(form) == 2 or (integer and form == "a"))) or (value_form == "i" and not integer):
            continue
        value, units, shown = _read(letter, value_form, at)
        body = (
            f"{text}{CHECKS[check]}(at, {op.width}); STORE({op.ctype}, at, ({op.ctype}){value}); ACCESSED(); NEXT({at + units});"
        )
        out.append(Handler(f"{op.ident}_{check}{form}_{value_form}", dis + shown, body))
    return out


CHECKS = {"g": "GUARD", "c": "CHECK"}  # guard pages, or compared


def _memory() -> list[Handler]:
    out: list[Handler] = []
    for op in OPS:
        if op.kind in ("load", "store"):
            make = _load if op.kind == "load" else _store
            for check, forms in (("g", (*FORMS, *SUMS)), ("c", tuple(FORMS))):
                for form in forms:
                    out += make(op, check, form)
    return out


def _moves() -> list[Handler]:
    out = [
        Handler("copy_x", "sd", "FP[PC[2]] = FP[PC[1]]; NEXT(3);"),
        Handler("copy_f", "sd", "*(u32 *)&FP[PC[2]] = SLOT32(1); NEXT(3);"),
        Handler("copy_F", "sd", "FP[PC[2]] = FP[PC[1]]; NEXT(3);"),
        Handler("spill_x", "ad", "FP[PC[1]] = ACC; NEXT(2);"),
        Handler("spill_f", "bd", "SLOTF(1) = FACC; NEXT(2);"),
        Handler("spill_F", "cd", "SLOTD(1) = DACC; NEXT(2);"),
        Handler("const_u32", "id", "FP[PC[3]] = IMM32(1); NEXT(4);"),
        Handler("const_u64", "Id", "FP[PC[5]] = IMM64(1); NEXT(6);"),
        Handler("zero", "su", "u64 *to = FP + PC[1]; for (u64 n = PC[2]; n--;) { *to++ = 0; NOT_MEMSET(to); } NEXT(3);"),
    ]
    cells = {"own": "IN->own_globals[IMM32(1)]", "imp": "(*IN->imported_globals[IMM32(1)])"}
    fields = {"x": ("I", "u64"), "f": ("f", "f32"), "F": ("F", "f64")}
    for where, cell in cells.items():
        for cls, (letter, field) in fields.items():
            out += _result(f"global_get_{where}_{cls}", letter, "g", "", f"{cell}.{field}", 3)
            for form in "sai" if cls == "x" else "sa":
                value, units, shown = _read(letter, form, 3)
                out.append(
                    Handler(f"global_set_{where}_{cls}{form}", "g" + shown, f"{cell}.{field} = {value}; NEXT({3 + units});")
                )
    for cls, letter in (("x", "I"), ("f", "f"), ("F", "F")):
        for condition in "sa":
            for one in "si" if cls == "x" else "s":
                for two in "si" if cls == "x" else "s":
                    text, at, dis = _operands("i", condition)
                    a, n, da = _read(letter, one, at)
                    b, m, db = _read(letter, two, at + n)
                    out += _result(
                        f"select_{cls}_{condition}{one}{two}", letter, dis + da + db, text, f"a ? {a} : {b}", at + n + m
                    )
    return out


# Control and run-time operations, written by hand in native/src/interp_control.h; those marked metered exist twice.
CONTROL: tuple[tuple[str, str, bool], ...] = (
    ("br", "r", True),
    ("br_table_s", "st", True),
    ("br_table_a", "at", True),
    ("return", "", True),
    ("return_xs", "s", True),
    ("return_xa", "a", True),
    ("return_fs", "s", True),
    ("return_fa", "b", True),
    ("return_Fs", "s", True),
    ("return_Fa", "c", True),
    ("call", "ur", True),
    ("call_import", "un", True),
    ("call_indirect_s", "usnn", True),
    ("call_indirect_a", "uann", True),
)
PLAIN: tuple[tuple[str, str], ...] = (
    ("unreachable", ""),
    ("fuel", "n"),
    ("exit", ""),
    ("entry", ""),
    ("cross_return", ""),
    ("interrupted", ""),
    # Arguments in consecutive slots from the first operand, the result in the first of them and in the accumulator.
    ("memory_size", "un"),
    ("memory_grow", "un"),
    ("memory_fill", "un"),
    ("memory_copy", "unn"),
    ("memory_init", "unn"),
    ("data_drop", "un"),
    ("table_get", "un"),
    ("table_set", "un"),
    ("table_size", "un"),
    ("table_grow", "un"),
    ("table_fill", "un"),
    ("table_copy", "unn"),
    ("table_init", "unn"),
    ("elem_drop", "un"),
    ("ref_func", "un"),
)


def handlers() -> list[Handler]:
    """Every generated handler, in the order of the enum."""
    return _moves() + _numeric() + _memory() + _branches()


def all_names() -> list[tuple[str, str]]:
    """(name, operands) of every operation, in the order of the enum."""
    control: list[tuple[str, str]] = []
    for name, operands, metered in CONTROL:
        control.append((name, operands))
        if metered:
            head, tail = (operands, "")
            if operands.endswith(("r", "t")) and not name.startswith("call"):
                head, tail = operands[:-1], operands[-1]
            control.append((name + "_m", head + "f" + tail))
    return control + list(PLAIN) + [(h.name, h.operands) for h in handlers()]


def ir_header() -> str:
    """The enum, and what the disassembler knows of each operation."""
    names = all_names()
    lines = "".join(f"    SBX_IR_{name},\n" for name, _ in names)
    rows = "".join(f'    {{"{name}", "{operands}"}}, \\\n' for name, operands in names)
    return (
        "#ifndef SBX_IR_OPS_H\n#define SBX_IR_OPS_H\n"
        f"typedef enum sbx_ir_op {{\n{lines}    SBX_IR_COUNT\n}} sbx_ir_op;\n"
        f"#define SBX_IR_ROWS \\\n{rows}\n#endif\n"
    )


def handlers_source() -> str:
    """The generated handlers' bodies, included by interp.c."""
    return "".join(f"HANDLER({h.name}) {{ {h.body} }}\n" for h in handlers())


def table_source() -> str:
    """The dispatch table's entries in the enum's order."""
    return "".join(f"    OP({name})\n" for name, _ in all_names())


def _index(op: Op) -> str:
    return f"{op.opcode:#x}" if op.opcode < 256 else f"{256 + (op.opcode & 0xFF)}"


def select_source() -> str:
    """What the lowering chooses from: operation by wasm opcode and operand forms (0 = no such form)."""
    numeric, swaps, loads, stores, branches = [], [], [], [], []
    known = {name for name, _ in all_names()}
    for op in OPS:
        if op.kind == "unary":
            forms = ", ".join(f"[{FORMS.index(f)}] = {{SBX_IR_{op.ident}_{f}}}" for f in "sa")
            numeric.append(f"    [{_index(op)}] = {{{forms}}},\n")
        elif op.kind in ("binary", "compare"):
            forms = ", ".join(f"[{FORMS.index(f[0])}][{FORMS.index(f[1])}] = SBX_IR_{op.ident}_{f}" for f in binary_forms(op))
            numeric.append(f"    [{_index(op)}] = {{{forms}}},\n")
            swap = next((o for o in OPS if o.name == op.swap), op if op.commutative else None)
            negate = next((o for o in OPS if o.name == op.negate), None)
            swaps.append(f"    [{_index(op)}] = {{{_index(swap) if swap else 0}, {_index(negate) if negate else 0}}},\n")
        if op.kind in ("load", "store"):
            addresses = (*FORMS, *SUMS)
            found = []
            for c, check in enumerate("gc"):
                for a, address in enumerate(addresses):
                    for v, value in enumerate(FORMS):
                        name = f"{op.ident}_{check}{address}" + (f"_{value}" if op.kind == "store" else "")
                        if name in known and (op.kind == "store" or not v):
                            found.append(f"[{c}][{a}]{f'[{v}]' if op.kind == 'store' else ''} = SBX_IR_{name}")
            (loads if op.kind == "load" else stores).append(f"    [{_index(op)}] = {{{', '.join(found)}}},\n")
        if op.kind == "compare":
            negative = f"br_{op.negate.replace('.', '_')}" if op.negate else f"brn_{op.ident}"
            forms = ", ".join(
                f"[{FORMS.index(f[0])}][{FORMS.index(f[1])}] = {{SBX_IR_br_{op.ident}_{f}, SBX_IR_{negative}_{f}}}"
                for f in binary_forms(op)
            )
            branches.append(f"    [{_index(op)}] = {{{forms}}},\n")
    return (
        "/* Operand forms: 0 slot, 1 accumulator, 2 immediate. */\n"
        f"static const uint16_t select_numeric[272][3][3] = {{\n{''.join(numeric)}}};\n"
        "/* {the row with its operands exchanged, the opposite comparison}; 0 = none. */\n"
        f"static const uint16_t select_swap[256][2] = {{\n{''.join(swaps)}}};\n"
        "/* [checked][address form: 0-2 as above, then sums: slot + slot, acc + slot, slot + imm, acc + imm] */\n"
        f"static const uint16_t select_load[64][2][7] = {{\n{''.join(loads)}}};\n"
        "/* [checked][address form][value form] */\n"
        f"static const uint16_t select_store[64][2][7][3] = {{\n{''.join(stores)}}};\n"
        "/* [form][form][0 = when true, 1 = when false]; the metered twin follows. */\n"
        f"static const uint16_t select_branch[256][3][3][2] = {{\n{''.join(branches)}}};\n"
    )


def eval_source() -> str:
    """Every unary and binary row over values v[0], v[1]: what the compiled tier leaves to the run time, and is compared with."""
    read = {"i": "(u32)v[{}]", "I": "v[{}]", "f": "sbx_float32((u32)v[{}])", "F": "sbx_float64(v[{}])"}
    write = {"i": "(u32)({})", "I": "({})", "f": "sbx_bits32({})", "F": "sbx_bits64({})"}
    out = []
    for op in OPS:
        if op.kind in ("unary", "binary"):
            operands = " ".join(
                f"{CTYPE[letter]} {name} = {read[letter].format(i)};"
                for i, (name, letter) in enumerate(zip("ab", op.params, strict=False))
            )
            out.append(f"case {op.opcode:#x}: {{ {operands} v[0] = {write[op.results].format(op.c)}; return 0; }}\n")
    return "".join(out)


def files() -> dict[str, str]:
    """The generated files of the interpreter by name."""
    return {
        "ir_ops.h": ir_header(),
        "interp_handlers.h": handlers_source(),
        "interp_table.h": table_source(),
        "lower_select.h": select_source(),
        "numeric_eval.h": eval_source(),
    }
