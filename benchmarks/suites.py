"""The suites besides `compute`: which contenders each measures, on what, and what a reader must know of its figures."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Suite
from benchmarks.fresh import Probe, interleave
from benchmarks.programs import CPYTHON, LARGEST, PROGRAMS, SQLITE, Program, have_programs

ABOUT = {
    "programs": "real programs, from load to output",
    "compile": "decode, validate and compile on one thread",
    "start": "from bytes to a first result; instances",
    "call": "calls in one process and across processes",
    "memory": "proportional set size of workers with the same module of 20 MB",
    "security": "what losses, deadlines, floods and the lock-down cost",
}
OURS, IN_PROCESS, WASMTIME, ECHO, POOL = "ours", "ours in process", "wasmtime", "bare pyzmq", "ProcessPoolExecutor"


@dataclass(frozen=True)
class Options:
    """What the command line chose."""

    peers: Sequence[str] = ("wasmtime",)
    commands: Mapping[str, str] = field(default_factory=dict)
    """Name -> command line of a peer that runs WASI programs; FILE and its arguments are put behind it, or where {} stands."""
    rounds: int = 3
    tier: str = "auto"
    metered: bool = False

    @property
    def ours(self) -> dict[str, Any]:
        """What our contenders are told."""
        return {"tier": self.tier, "metered": self.metered}


def run_suite(name: str, options: Options) -> Suite:
    """Measures one suite. Raises WrongResult, NotReady."""
    if name in ("programs", "compile", "start", "memory"):
        have_programs()
    probes, notes = {
        "programs": programs, "compile": compiling, "start": start, "call": call, "memory": memory,
        "security": security,
    }[name](options)  # fmt: skip
    return interleave(Suite(name, ABOUT[name], probes[0].contender, notes=notes), probes, options.rounds)


# ---- programs


def programs(options: Options) -> tuple[list[Probe], list[str]]:
    """CPython, Ruby and SQLite."""
    probes = [
        probe
        for program in PROGRAMS
        for probe in program_probes(program.name, program.path, program.arguments, "", program.stdout, 0, options)
    ]
    return probes, PROGRAM_NOTES


PROGRAM_NOTES = [
    "cold: nothing cached; warm: the second load of the same bytes by the same host, or engine.",
    "Before the time starts, packages are imported, our host is open and its worker ready.",
    "ours: compiled in one process, run in another; ours in process, wasmtime: both in the calling one, wasmtime on all cores.",
]


def program_probes(
    name: str, file: Path, arguments: Sequence[str], stdin: str, stdout: str | None, code: int | None, options: Options
) -> list[Probe]:
    """Every contender on one program; with stdout and code None, the first contender's count (see `check_program`)."""
    task = {**options.ours, "file": str(file), "name": file.stem, "arguments": list(arguments), "stdin": stdin}
    results: dict[str, Any] = {"same_again": True}
    if stdout is not None:
        results["stdout"] = stdout
    if code is not None:
        results["exit_code"] = code
    probes = [
        Probe(OURS, "programs_ours", {**task, "where": "workers"}, name, results=results),
        Probe(IN_PROCESS, "programs_ours", {**task, "where": "in process"}, name, results=results),
    ]
    if WASMTIME in options.peers:
        probes.append(Probe(WASMTIME, "programs_wasmtime", task, name, results=results))
    if options.commands:  # our own command line beside them, from its start to its end
        command = [sys.executable, "-m", "sandboxhost", "run", str(file), *arguments]
        probes.append(Probe(OURS, "programs_command", {**task, "command": command}, name, results=results))
    for peer, line in options.commands.items():
        command = command_line(line, str(file), arguments)
        probes.append(Probe(peer, "programs_command", {**task, "command": command}, name, results=results))
    return probes


def command_line(line: str, file: str, arguments: Sequence[str]) -> list[str]:
    """The command of `--peer NAME=COMMAND`: words as in a shell; FILE ARGS behind them, or in place of a word {}."""
    words = shlex.split(line)
    if "{}" not in words:
        return [*words, file, *arguments]
    place = words.index("{}")
    return [*words[:place], file, *arguments, *words[place + 1 :]]


def one_program(file: Path, arguments: Sequence[str], stdin: str, options: Options) -> Suite:
    """The suite `programs` on any WASI command; all contenders must print what ours prints and end as it ends."""
    from benchmarks.fresh import ask

    program = Program(file.stem, str(file), tuple(arguments), "")
    probes = program_probes(program.name, file.resolve(), arguments, stdin, None, None, options)
    first = ask(probes[0].title, probes[0].module, probes[0].task)
    probes = program_probes(program.name, file.resolve(), arguments, stdin, first["stdout"], first["exit_code"], options)
    about = f"{file.name} {shlex.join(arguments)}: exit code {first['exit_code']}, {len(first['stdout'])} characters of output"
    return interleave(Suite("program", about, notes=PROGRAM_NOTES), probes, options.rounds)


# ---- the others


def compiling(options: Options) -> tuple[list[Probe], list[str]]:
    """The three largest programs."""
    probes = []
    for name, path in LARGEST.items():
        task = {**options.ours, "file": str(path)}
        probes.append(Probe(OURS, "compile_ours", task, name))
        if WASMTIME in options.peers:
            probes.append(Probe(WASMTIME, "compile_wasmtime", task, name, most_rounds=1))
    return probes, ["MB (10^6 bytes) of the code section a second; wasmtime is told not to compile in parallel, and runs once."]


def start(options: Options) -> tuple[list[Probe], list[str]]:
    """A small module, and SQLite for what depends on size."""
    task = {**options.ours, "file": str(SQLITE.path)}
    probes = [
        Probe(IN_PROCESS, "start_ours", {**task, "where": "in process"}),
        Probe("Host(workers=0)", "start_ours", {**task, "where": "host in process"}),
        Probe("Host(workers=1)", "start_ours", {**task, "where": "workers"}),
    ]
    if WASMTIME in options.peers:
        probes.append(Probe(WASMTIME, "start_wasmtime", task))
    notes = ["The cache of wasmtime is the compiled module at hand. Host(workers=1) compiles in a fresh process, by design."]
    return probes, notes


def call(options: Options) -> tuple[list[Probe], list[str]]:
    """In process beside wasmtime, across processes beside a bare echo and a pool."""
    task = options.ours
    probes = [Probe(OURS, "call_ours", task), Probe(OURS, "cross_ours", task, CROSS)]
    if WASMTIME in options.peers:
        probes.append(Probe(WASMTIME, "call_wasmtime", task))
    probes += [Probe(ECHO, "cross_echo", {}, CROSS), Probe(POOL, "cross_pool", {}, CROSS)]
    notes = [
        "The bare echo (ROUTER, DEALER, msgpack) runs nothing and checks nothing.",
        "Ours uses a fresh instance for each call unless the row says persistent.",
        "A mebibyte goes in as the standard input of a WASI command and comes out as its output.",
    ]
    return probes, notes


CROSS = "across processes"


def memory(options: Options) -> tuple[list[Probe], list[str]]:
    """CPython in 1, 2 and 8 workers."""
    arguments, stdout = ["-c", "print(6*7)"], "42\n"
    task = {**options.ours, "file": str(CPYTHON.path), "name": "python", "arguments": arguments, "stdout": stdout}
    notes = ["Every worker has run the program once and is idle again.", "A page that n processes share counts 1/n in each."]
    return [Probe(OURS, "memory_ours", task)], notes


SECURITY = tuple(f"security_{kind}" for kind in ("loss", "deadline", "shutdown", "attacks", "lockdown", "round_trip"))


def security(options: Options) -> tuple[list[Probe], list[str]]:
    """Ours alone: workers killed, deadlines reached, hosts ended, workers that attack, the lock-down on and off."""
    task = options.ours
    notes = [
        "Each kill meets two workers, one of them busy, and a warm spare; half of the callers wait in `call`, half for a future.",
        "A deadline is late by what passes until the exception is in the caller, beside another call in the same process.",
    ]
    return [Probe(OURS, module, task) for module in SECURITY], notes
