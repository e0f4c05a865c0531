"""Runs the commands of one script in one store and judges each assertion.

A case is an assertion. Any other command counts only when it fails, except in a script without assertions, whose commands
are its cases. Malformed *text* (assert_malformed with a module in text or quote form) tests a parser of the text format, which
this engine has not: skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .assemble import AssemblyFailure, assemble
from .embedding import Embedding, Failure, Instance, message_matches
from .report import FileReport
from .script import (
    Action,
    AssertFailure,
    Assertion,
    AssertModule,
    AssertReturn,
    Broken,
    Command,
    InstanceCommand,
    ModuleCommand,
    ModuleText,
    Register,
    parse,
)
from .sexpr import SyntaxFailure
from .values import matches, show


class Mismatch(Exception):
    """A command did not do what the script expects; the text says why."""


class ScriptRunner:
    """The state of one script: its instances by name, the latest one, and what is registered for imports."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._latest: Instance | None = None
        self._named: dict[str, Instance] = {}
        self._definitions: dict[str, Any] = {}
        self._latest_definition: Any = None
        self._registered: dict[str, Instance] = {"spectest": embedding.spectest()}

    def run(self, command: Command) -> None:
        """Raises Mismatch, Failure or AssemblyFailure when the command fails."""
        match command:
            case Broken():
                raise Mismatch(command.reason)
            case ModuleCommand():
                self._define(command)
            case InstanceCommand():
                definition = self._definitions.get(command.definition) if command.definition else self._latest_definition
                if definition is None:
                    raise Mismatch(f"no module definition {command.definition}")
                self._instantiate(command.name, definition)
            case Register():
                self._registered[command.as_name] = self._instance(command.module)
            case Action():
                self._act(command)
            case AssertReturn():
                self._assert_return(command)
            case AssertFailure():
                self._expect_failure(command.kind, command.message, lambda: self._provoke(command))
            case AssertModule():
                self._expect_failure(command.kind, command.message, lambda: self._refuse(command))
            case _:
                raise Mismatch(f"unknown command {type(command).__name__}")

    def _define(self, command: ModuleCommand) -> None:
        self._latest = None  # a module that fails must not leave its predecessor to be tested in its place
        if command.name:
            self._named.pop(command.name, None)
        compiled = self._embedding.compile(assemble(command.module))
        if command.definition:
            self._latest_definition = compiled
            self._definitions[command.name] = compiled
        else:
            self._instantiate(command.name, compiled)

    def _instantiate(self, name: str, compiled: Any) -> None:
        instance = self._embedding.instantiate(compiled, self._registered)
        self._latest = instance
        if name:
            self._named[name] = instance

    def _instance(self, name: str) -> Instance:
        instance = self._named.get(name) if name else self._latest
        if instance is None:
            raise Mismatch(f"no module {name}" if name else "no module: the one before it failed")
        return instance

    def _act(self, action: Action) -> list[tuple[str, Any]]:
        instance = self._instance(action.module)
        if action.args is None:
            return [instance.get(action.field)]
        return instance.invoke(action.field, action.args)

    def _assert_return(self, command: AssertReturn) -> None:
        results = self._act(command.action)
        if len(results) != len(command.expected):
            raise Mismatch(f"{command.action.field!r}: {len(results)} results, expected {len(command.expected)}")
        for index, ((type_name, raw), alternatives) in enumerate(zip(results, command.expected, strict=True)):
            if not any(matches(constant, type_name, raw) for constant in alternatives):
                wanted = " or ".join(str(constant) for constant in alternatives)
                raise Mismatch(f"{command.action.field!r}: result {index} is {show(type_name, raw)}, expected {wanted}")

    def _provoke(self, command: AssertFailure) -> None:
        if isinstance(command.subject, ModuleText):
            compiled = self._embedding.compile(assemble(command.subject))
            self._embedding.instantiate(compiled, self._registered)
        else:
            self._act(command.subject)

    def _refuse(self, command: AssertModule) -> None:
        compiled = self._embedding.compile(assemble(command.module))
        if command.kind == "unlinkable":
            self._embedding.instantiate(compiled, self._registered)

    @staticmethod
    def _expect_failure(kind: str, message: str, provoke: Callable[[], None]) -> None:
        try:
            provoke()
        except Failure as failure:
            if failure.kind != kind or not message_matches(message, failure.message):
                raise Mismatch(f"expected {kind}: {message!r}, got {failure.kind}: {failure.message!r}") from failure
            return
        raise Mismatch(f"expected {kind}: {message!r}, but it succeeded")


def is_text_only(command: Command) -> bool:
    """Can this case be judged only by a parser of the text format?"""
    return isinstance(command, AssertModule) and command.kind == "malformed" and command.module.kind != "binary"


def run_file(path: Path, embed: Callable[[], Embedding]) -> FileReport:
    """Runs a script in a new embedding."""
    report = FileReport(path.name)
    try:
        commands = parse(path.read_bytes())
    except OSError as error:
        report.fail(0, f"cannot read: {error.strerror}")
        return report
    except SyntaxFailure as error:
        report.fail(error.line, f"not a script: {error}")
        return report
    embedding = embed()
    try:
        run_commands(commands, ScriptRunner(embedding), report)
    finally:
        embedding.close()
    return report


def run_commands(commands: list[Command], runner: ScriptRunner, report: FileReport) -> None:
    """Runs all commands, whatever fails before, and counts."""
    assertions = any(isinstance(command, Assertion) for command in commands)
    if not commands:
        report.fail(1, "no command found in this script")
    for command in commands:
        if is_text_only(command):
            report.skipped += 1
            continue
        try:
            runner.run(command)
        except (Mismatch, Failure, AssemblyFailure) as error:
            report.fail(command.line, str(error))
            continue
        if isinstance(command, Assertion) or not assertions:
            report.passed += 1
