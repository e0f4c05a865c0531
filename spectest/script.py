"""Commands of a .wast script, made from its s-expressions.

Source: the reference interpreter's script grammar (github.com/WebAssembly/spec, interpreter/README.md, "Scripts").
"""

from __future__ import annotations

from dataclasses import dataclass

from .sexpr import Form, Node, Source, SyntaxFailure, read
from .values import Constant, parse_constant, parse_expected

_MODULE_FIELDS = frozenset(
    {"type", "rec", "import", "func", "table", "memory", "global", "export", "start", "elem", "data", "tag"}
)


@dataclass(frozen=True, slots=True)
class ModuleText:
    """A module as the script gives it: ``kind`` text (source bytes of the whole form), quote (source bytes) or binary (bytes)."""

    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Command:
    """``line`` is that of the command in the script, from 1."""

    line: int


@dataclass(frozen=True, slots=True)
class Broken(Command):
    """A command that could not be read: it fails when its turn comes, the others run."""

    reason: str


@dataclass(frozen=True, slots=True)
class ModuleCommand(Command):
    """``(module …)``; with ``definition`` it is only compiled, for module instances to come."""

    name: str
    module: ModuleText
    definition: bool = False


@dataclass(frozen=True, slots=True)
class InstanceCommand(Command):
    """``(module instance $name $definition)``."""

    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class Register(Command):
    """``(register "as" $module?)``; an empty module is the latest."""

    as_name: str
    module: str


@dataclass(frozen=True, slots=True)
class Action(Command):
    """``(invoke $module? "field" constants)`` or, when ``args`` is None, ``(get $module? "field")``."""

    module: str
    field: str
    args: tuple[Constant, ...] | None


@dataclass(frozen=True, slots=True)
class AssertReturn(Command):
    """Each result must match one of its alternatives (``either`` gives several)."""

    action: Action
    expected: tuple[tuple[Constant, ...], ...]


@dataclass(frozen=True, slots=True)
class AssertFailure(Command):
    """``kind``: trap, exhaustion or exception; the message is empty for an exception. The subject may be a module that traps."""

    kind: str
    subject: Action | ModuleText
    message: str


@dataclass(frozen=True, slots=True)
class AssertModule(Command):
    """``kind``: malformed, invalid or unlinkable."""

    kind: str
    module: ModuleText
    message: str


Assertion = AssertReturn | AssertFailure | AssertModule


def parse(data: bytes) -> list[Command]:
    """The commands of a script in order. Raises SyntaxFailure when the text is no sequence of s-expressions."""
    source = Source(data)
    commands: list[Command] = []
    inline: list[Form] = []
    for form in read(source):
        if form.head in _MODULE_FIELDS:
            inline.append(form)
            continue
        if inline:
            commands.append(_inline_module(source, inline))
            inline = []
        commands.append(_command(source, form))
    if inline:
        commands.append(_inline_module(source, inline))
    return commands


def _inline_module(source: Source, fields: list[Form]) -> ModuleCommand:
    """Module fields at the top of a script, without ``(module``, are one module."""
    text = source.text[fields[0].start : fields[-1].end].encode("latin-1")
    return ModuleCommand(fields[0].line, "", ModuleText("text", b"(module " + text + b")"))


def _command(source: Source, form: Form) -> Command:
    try:
        return _parse_command(source, form)
    except (SyntaxFailure, ValueError) as error:
        return Broken(form.line, f"cannot read ({form.head} …): {error}")


def _parse_command(source: Source, form: Form) -> Command:
    head, items, line = form.head, form.items, form.line
    if head == "module":
        return _module_command(source, form)
    if head == "register":
        return Register(line, _text(items, 1), _word(items, 2))
    if head in ("invoke", "get"):
        return _action(form)
    if head == "assert_return":
        return AssertReturn(line, _action(_form(items, 1)), tuple(parse_expected(_as_form(e)) for e in items[2:]))
    if head == "assert_exception":
        return AssertFailure(line, "exception", _action(_form(items, 1)), "")
    if head in ("assert_trap", "assert_exhaustion"):
        subject = _form(items, 1)
        target = _module(source, subject)[1] if subject.head == "module" else _action(subject)
        return AssertFailure(line, head.removeprefix("assert_"), target, _text(items, 2))
    if head in ("assert_malformed", "assert_malformed_custom", "assert_invalid", "assert_unlinkable"):
        kind = head.removeprefix("assert_").removesuffix("_custom")  # a malformed annotation is malformed text
        return AssertModule(line, kind, _module(source, _form(items, 1))[1], _text(items, 2))
    raise ValueError(f"unknown command {head!r}")


def _action(form: Form) -> Action:
    items = form.items
    if form.head not in ("invoke", "get"):
        raise ValueError(f"unknown action {form.head!r}")
    module = _word(items, 1)
    first = 2 if module else 1
    args = None
    if form.head == "invoke":
        args = tuple(parse_constant(_as_form(item)) for item in items[first + 1 :])
    return Action(form.line, module, _text(items, first), args)


def _module_command(source: Source, form: Form) -> Command:
    if len(form.items) > 1 and form.items[1] == "instance":
        return InstanceCommand(form.line, *_instance_names(form.items[2:]))
    name, module = _module(source, form)
    return ModuleCommand(form.line, name, module, definition=len(form.items) > 1 and form.items[1] == "definition")


def _instance_names(items: list[Node]) -> tuple[str, str]:
    """(name, definition) of ``(module instance $name? $definition?)``."""
    words = [item for item in items if isinstance(item, str)]
    if len(words) > 1:
        return words[0], words[1]
    return "", (words[0] if words else "")


def _module(source: Source, form: Form) -> tuple[str, ModuleText]:
    """Name and content of a module form."""
    if form.head != "module":
        raise ValueError(f"expected (module …), not ({form.head} …)")
    rest = form.items[1:]
    definition = bool(rest) and rest[0] == "definition"
    rest = rest[1:] if definition else rest
    name = rest[0] if rest and isinstance(rest[0], str) and rest[0].startswith("$") else ""
    rest = rest[1:] if name else rest
    if rest and rest[0] in ("binary", "quote"):
        strings = [item for item in rest[1:] if isinstance(item, bytes)]
        if rest[0] == "binary":
            return name, ModuleText("binary", b"".join(strings))
        return name, ModuleText("quote", b" ".join(strings))
    text = source.slice(form)
    if definition:
        text = b"(module" + text[text.index(b"definition") + len(b"definition") :]
    return name, ModuleText("text", text)


def _text(items: list[Node], index: int) -> str:
    """The string at ``index``, which must be valid UTF-8."""
    item = items[index] if index < len(items) else None
    if not isinstance(item, bytes):
        raise ValueError(f"expected a string as item {index}")
    return item.decode()


def _word(items: list[Node], index: int) -> str:
    """The word at ``index``; empty when there is something else or nothing."""
    item = items[index] if index < len(items) else None
    return item if isinstance(item, str) else ""


def _form(items: list[Node], index: int) -> Form:
    return _as_form(items[index] if index < len(items) else None)


def _as_form(item: Node | None) -> Form:
    if not isinstance(item, Form):
        raise ValueError(f"expected a list, not {item!r}")
    return item
