"""The command line: run, inspect, validate, top, doctor, demo. Data on stdout, talk on stderr."""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from .errors import (
    GuestExit,
    LimitExceeded,
    ManifestError,
    ModuleError,
    SandboxError,
    SignatureMismatch,
    Trap,
    UnknownFunction,
    WorkerError,
    printable,
)
from .limits import Limits, parse_size
from .lockdown import DEFAULT_MINIMUM
from .options import LEVELS, TIERS

OK, USAGE, BAD_MODULE, TRAP, LIMIT, WORKER_LOST, INTERRUPTED = 0, 2, 65, 70, 75, 76, 130
_EPILOG = """\
exit codes: 0, or the guest's own; 2 wrong usage; 65 bad module; 70 trap; 75 limit reached; 76 worker lost; 130 interrupted
"""
_RUN_HELP = """\
A module that exports _start is a WASI command: everything after FILE is its command line, untouched, and stdin, stdout, stderr
and the exit code are the guest's. Of any other module (or with --invoke NAME) the first argument after FILE names the export to
call, the others are its arguments, and the results are printed. FILE may also be a plugin's folder or manifest, whose limits and
entry then apply.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    options = _parser().parse_args(argv)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its exit
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except (SandboxError, OSError) as exc:
        _complain(exc, getattr(options, "json", False))
        return exit_code(exc)


def exit_code(exc: BaseException) -> int:
    """The exit code that stands for an exception."""
    if isinstance(exc, GuestExit):
        return exc.code & 0xFF or (1 if exc.code else 0)
    for kinds, code in (
        ((ModuleError,), BAD_MODULE), ((LimitExceeded,), LIMIT), ((WorkerError,), WORKER_LOST), ((Trap,), TRAP),
        ((UnknownFunction, SignatureMismatch, ManifestError, OSError), USAGE),
    ):
        if isinstance(exc, kinds):
            return code
    return TRAP


def _complain(exc: BaseException, as_json: bool) -> None:
    kind = type(exc).__name__
    if as_json:
        print(json.dumps({"error": kind, "text": str(exc), "offset": getattr(exc, "offset", None)}))
    print(f"sandboxhost: {kind}: {printable(str(exc))}", file=sys.stderr)


# ---- arguments ----

def _parser() -> argparse.ArgumentParser:
    from . import __version__

    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "sandboxhost", description="Runs untrusted WebAssembly in worker processes.", epilog=_EPILOG, formatter_class=formatter)
    parser.add_argument("--version", action="version", version=f"sandboxhost {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run a WASI command, or call an export", description=_RUN_HELP, epilog=_EPILOG,
                              formatter_class=formatter)
    run.set_defaults(command=_run)
    run.add_argument("--invoke", metavar="NAME", help="call this export, also of a module that has _start")
    run.add_argument("--dir", metavar="GUEST=HOST[:ro]", action="append", default=[], type=_directory,
                     help="grant a directory, writable unless it ends in :ro (may be repeated)")
    run.add_argument("--env", metavar="NAME[=VALUE]", action="append", default=[], type=_variable,
                     help="grant an environment variable; without a value, this process's own (may be repeated)")
    run.add_argument("--fuel", metavar="N", type=int, help="instructions that the call may execute")
    run.add_argument("--deadline", metavar="SECONDS", type=float, help="time that the call may take")
    run.add_argument("--memory", metavar="SIZE", type=_size, default=2**30, help="linear memory that it may use (default 1GiB)")
    run.add_argument("--clock", metavar="SECONDS", type=float, default=1e-6,
                     help="resolution of the clocks (default 1e-6); 0: a clock that starts at 0 and is the same in every run")
    run.add_argument("--seed", metavar="N", type=int, help="seed of its random numbers (default: unpredictable)")
    run.add_argument("--tier", choices=TIERS, default="auto", help="the executor (default: auto, the fastest that there is)")
    _minimum_level(run)
    run.add_argument("--in-process", action="store_true", help="no worker process: faster to start, less isolated")
    run.add_argument("--json", action="store_true", help="print results, usage and errors as JSON")
    run.add_argument("file", metavar="FILE")
    run.add_argument("arguments", metavar="ARGS", nargs=argparse.REMAINDER)

    inspect = commands.add_parser("inspect", help="show imports, exports, memories, custom sections and sizes")
    inspect.set_defaults(command=_inspect)
    code = inspect.add_mutually_exclusive_group()
    code.add_argument("--ir", metavar="FUNCTION", nargs="?", const="",
                      help="show the interpreter's code of every function, or of this one (name or index)")
    code.add_argument("--asm", metavar="FUNCTION", nargs="?", const="", help="show the machine code in the same way")
    inspect.add_argument("--json", action="store_true")
    inspect.add_argument("file", metavar="FILE", nargs="?")  # asked for in _inspect: "--ir FILE" means no function
    inspect.set_defaults(usage=inspect.error)

    validate = commands.add_parser("validate", help="decode and validate modules", epilog=_EPILOG, formatter_class=formatter)
    validate.set_defaults(command=_validate)
    validate.add_argument("--json", action="store_true")
    validate.add_argument("files", metavar="FILE", nargs="+")

    top = commands.add_parser("top", help="watch a host live: plugins, tenants, workers, queues, latencies",
                              description="Shows the host whose status socket PATH is: one made with Host(status=PATH).")
    top.set_defaults(command=_top)
    top.add_argument("--once", action="store_true", help="show it once, as text")
    top.add_argument("--json", action="store_true", help="print one snapshot as JSON")
    top.add_argument("--interval", metavar="SECONDS", type=_interval, default=1.0, help="between two looks (default 1)")
    top.add_argument("path", metavar="PATH")

    doctor = commands.add_parser("doctor", help="show how far worker processes lock themselves down on this machine")
    doctor.set_defaults(command=_doctor)
    doctor.add_argument("--json", action="store_true")

    demo = commands.add_parser("demo", help="a tour in ten seconds: plugins, limits, a killed worker")
    demo.set_defaults(command=_demo)
    demo.add_argument("--workers", type=int, default=3, help="worker processes (default 3)")
    _minimum_level(demo)
    return parser


def _minimum_level(command: argparse.ArgumentParser) -> None:
    command.add_argument("--minimum-level", choices=LEVELS, default=DEFAULT_MINIMUM,
                         help="what worker processes must lock themselves down to (default: %(default)s; see doctor)")


def _directory(text: str) -> tuple[str, tuple[str, str]]:
    guest, equals, host = text.partition("=")
    mode = "rw"
    if host.endswith((":ro", ":rw")):
        host, mode = host[:-3], host[-2:]
    if not guest or not equals or not host:
        raise argparse.ArgumentTypeError(f"expected GUEST=HOST or GUEST=HOST:ro, got {text!r}")
    if not os.path.isdir(host):
        raise argparse.ArgumentTypeError(f"{host!r} is no directory")
    return guest, (host, mode)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals and name not in os.environ:
        raise argparse.ArgumentTypeError(f"{name!r} is not set here; give a value")
    return name, value if equals else os.environ[name]


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 3600.0:
        raise argparse.ArgumentTypeError(f"expected seconds between 0.05 and 3600, got {text!r}")
    return seconds


def _size(text: str) -> int:
    try:
        return parse_size(int(text) if text.isdigit() else text)
    except ManifestError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


# ---- run ----

def _run(options: argparse.Namespace) -> int:
    from .grants import Grants
    from .host import Host

    limits = Limits(fuel=options.fuel, deadline=options.deadline, memory=options.memory)
    grants = Grants(directories=dict(options.dir), environment=dict(options.env), clock=options.clock or None,
                    random_seed=options.seed)
    with Host(workers=0 if options.in_process else 1, threads=1, tier=options.tier,
              minimum_level=options.minimum_level) as host:
        plugin = host.load(options.file, limits=limits, grants=grants)
        if plugin.is_command() and options.invoke is None:
            return _run_command(plugin, options)
        name, arguments = options.invoke or ("" if plugin.is_command() else plugin.entry), options.arguments
        if not name:
            if not arguments:
                raise UnknownFunction(f"{plugin.name} is no command; name one of its functions: {_function_names(plugin)}")
            name, *arguments = arguments
        values = _values(plugin.signature(name), arguments, name)
        outcome = plugin.invoke(name, *values)
    if options.json:
        print(json.dumps({"values": [_json_value(v) for v in outcome.values], "usage": outcome.usage._asdict()}))
    elif outcome.values:
        print(*("null" if value is None else value for value in outcome.values))
    return OK


def _run_command(plugin: Any, options: argparse.Namespace) -> int:
    sys.stdout.flush()
    with _standard_streams() as streams:
        done = plugin.run_with(options.arguments, *streams)
    if options.json:
        print(json.dumps({"exit_code": done.exit_code, "usage": done.usage._asdict()}), file=sys.stderr)
    code: int = done.exit_code
    return code & 0xFF or (1 if code else 0)


@contextlib.contextmanager
def _standard_streams() -> Iterator[list[int]]:
    """Descriptors 0, 1, 2, the null device in place of a closed one."""
    streams: list[int] = []
    opened: list[int] = []
    try:
        for fd in (0, 1, 2):
            try:
                os.fstat(fd)
            except OSError:
                fd = os.open(os.devnull, os.O_RDWR)
                opened.append(fd)
            streams.append(fd)
        yield streams
    finally:
        for fd in opened:
            os.close(fd)


def _function_names(plugin: Any) -> str:
    names = [printable(name, 80) for name, export in plugin.exports.items() if str(export.kind) == "func"]
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "") or "it has none"


def _values(signature: Any, texts: Sequence[str], function: str) -> list[Any]:
    """Command-line words as values. Raises SignatureMismatch."""
    if len(texts) != len(signature.params):
        raise SignatureMismatch(f"{function}: expected {len(signature.params)} params, but passed {len(texts)}: {signature}")
    values: list[Any] = []
    for position, (kind, text) in enumerate(zip(signature.params, texts, strict=True), 1):
        try:
            if kind.is_reference and text == "null":
                values.append(None)
            else:
                values.append(float(text) if str(kind) in ("f32", "f64") else int(text, 0))
        except ValueError:
            raise SignatureMismatch(f"{function}: argument {position}: {text!r} is no {kind}") from None
    return values


def _json_value(value: Any) -> Any:
    """NaN and infinities are not JSON: as text."""
    return repr(value) if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))) else value


# ---- inspect, validate ----

def _source(file: str, limits: Limits) -> tuple[bytes, Path]:
    from .manifest import find_manifest

    path, _ = find_manifest(file)
    with open(path, "rb") as stream:
        return stream.read(limits.module_bytes + 1), path


def _inspect(options: argparse.Namespace) -> int:
    from .engine import Engine

    limits = Limits()
    kind: Literal["ir", "asm"] = "ir" if options.ir is not None else "asm"
    wanted: str | None = getattr(options, kind)
    file: str | None = options.file
    if file is None:
        file, wanted = wanted, ""
    if not file:
        options.usage("the following arguments are required: FILE")
    assert file
    data, path = _source(file, limits)
    listing: list[bytes] = []
    engine = Engine() if wanted is None else Engine(tier="interpreter" if kind == "ir" else "compiled")
    description = engine.describe(data, limits, None if wanted is None else listing.append, wanted or "")
    code = b"".join(listing).decode("utf-8", "replace")
    if options.json:
        print(json.dumps(_description(path, data, description) | ({} if wanted is None else {kind: code})))
        return OK
    for title, lines in _pages(path, data, description):
        print(title)
        for line in lines:
            print(f"  {printable(line, 1000)}")
    if wanted is not None:
        print("code" if kind == "ir" else "machine code")
        print("\n".join(printable(line, 1000) for line in code.splitlines()))
    return OK


def _pages(path: Path, data: bytes, description: Any) -> Iterator[tuple[str, list[str]]]:
    figures = description.figures
    yield f"{path}: {len(data)} bytes", [
        f"{name.replace('_', ' ')}: {'yes' if value is True else 'no' if value is False else value}"
        for name, value in figures._asdict().items()
    ] + [
        f"image bytes: {description.image_bytes}", f"tier: {description.tier}", f"machine bytes: {description.machine_bytes}"]
    yield f"imports ({len(description.imports)})", [f"{i.module}.{i.name}: {i.kind} {i.type}" for i in description.imports]
    yield f"exports ({len(description.exports)})", [f"{e.name}: {e.kind} {e.type}" for e in description.exports.values()]
    yield f"memories ({len(description.memories)})", [str(memory) for memory in description.memories]
    yield f"custom sections ({len(description.customs)})", [f"{c.name}: {c.length} bytes" for c in description.customs]


def _description(path: Path, data: bytes, description: Any) -> dict[str, Any]:
    return {
        "file": str(path), "bytes": len(data), **description.figures._asdict(), "image_bytes": description.image_bytes,
        "tier": description.tier, "machine_bytes": description.machine_bytes,
        "imports": [{"module": i.module, "name": i.name, "kind": str(i.kind), "type": str(i.type)} for i in description.imports],
        "exports": [{"name": e.name, "kind": str(e.kind), "type": str(e.type)} for e in description.exports.values()],
        "memories": [{"minimum": m.minimum, "maximum": m.maximum} for m in description.memories],
        "custom_sections": [{"name": c.name, "length": c.length} for c in description.customs],
    }


def _validate(options: argparse.Namespace) -> int:
    from .engine import Engine

    engine, limits, worst = Engine(), Limits(), OK
    verdicts = []
    for file in options.files:
        try:
            data, path = _source(file, limits)
            engine.describe(data, limits)
            verdicts.append({"file": str(path), "valid": True})
            if not options.json:
                print(f"{path}: valid")
        except (SandboxError, OSError) as exc:
            worst = max(worst, exit_code(exc))
            verdicts.append({"file": file, "valid": False, "error": type(exc).__name__, "text": str(exc),
                             "offset": getattr(exc, "offset", None)})
            print(f"sandboxhost: {file}: {type(exc).__name__}: {printable(str(exc))}", file=sys.stderr)
    if options.json:
        print(json.dumps(verdicts))
    return worst


def _top(options: argparse.Namespace) -> int:
    from .top import main as top

    return top(options.path, options.once, options.json, options.interval)


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import main as doctor

    return doctor(options.json)


def _demo(options: argparse.Namespace) -> int:
    from .demo import demo

    return demo(options.workers, options.minimum_level)


if __name__ == "__main__":
    sys.exit(main())
