"""The worker's fixed threads: each owns its call engines and makes one call at a time, outside the interpreter lock while the
guest runs. The one that reads the lifeline leaves it to the core to answer plain calls there (call_line.py).
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, Protocol

from sandboxhost import wire
from sandboxhost.errors import HostFunctionError, PayloadTooLarge
from sandboxhost.options import RunOptions
from sandboxhost.statistics import Usage

from . import call_line, native, rows
from .call_engine import CallEngine
from .call_line import Begun, Gate
from .context import CallContext, Cancellation
from .lifeline import close_all
from .plugin import Job, Outcome, Plugin, Shared

Post = Callable[..., None]
"""Sends messages to the host, now or soon, in their order."""


class Line(Protocol):
    """The lifeline as an idle thread sees it that reads it: the loop."""

    @property
    def gate(self) -> Gate: ...
    def lifeline_fd(self) -> int: ...
    def read_line(self) -> list[Task]: ...
    def begun(self, datagram: bytes, begun: Begun) -> Task: ...
    def host_gone(self) -> NoReturn: ...


class Task:
    """One call of the host's: CALL or RUN."""

    __slots__ = (
        "begun", "by_line", "cancellation", "context", "descriptors", "id", "message", "plugin", "post", "run", "shared",
        "thread",
    )  # fmt: skip

    def __init__(
        self,
        message: wire.Call | wire.Run | wire.CallRows,
        plugin: Plugin,
        deadline: float | None,
        run: RunOptions | None,
        descriptors: tuple[int, ...],
        post: Post,
        shared: Shared | None = None,
        begun: Begun | None = None,
    ) -> None:
        """post: sends what is said about it, the way that it came. begun: by the core, on the thread that has read it."""
        self.id = message.id
        self.post = post
        self.shared = shared
        self.begun = begun
        self.by_line = False
        """It was read from the lifeline: the core may make the next one like it."""
        self.message = message
        self.plugin = plugin
        self.run = run
        self.descriptors = descriptors
        self.cancellation = Cancellation()
        fuel = None if message.fuel == wire.UNLIMITED else int(message.fuel)
        self.context = CallContext(None, deadline, self.cancellation, fuel, plugin.limits.host_calls)
        self.thread: WorkerThread | None = None

    def cancel(self) -> None:
        """From the loop: the call ends as soon as it can."""
        self.cancellation.cancel()
        if self.thread is not None:
            self.thread.answers.put(None)


class WorkerThread(threading.Thread):
    """One thread. `inbox` brings tasks; `answers` brings what a waiting call waits for: results of host functions, calls that
    those functions make (run on top of the waiting one), and None to look at its context again."""

    def __init__(self, pool: Pool, number: int) -> None:
        super().__init__(name=f"sandbox-{number}", daemon=True)
        self.inbox: SimpleQueue[Task] = SimpleQueue()
        self.answers: SimpleQueue[wire.HostResult | Task | None] = SimpleQueue()
        self._pool = pool
        self._engines: dict[int, CallEngine] = {}
        self._early: dict[tuple[int, int], wire.HostResult] = {}
        self.calls = call_line.CallLine(pool.line.gate, pool.line.lifeline_fd())
        """What it does, and what wakes it, while it leads."""

    def run(self) -> None:
        """Takes tasks for ever."""
        native.enter_thread()
        pinned = False
        while True:
            task = self._pool.next_task(self, pinned)
            self._perform(task)
            pinned = task.plugin.persistent

    def _perform(self, task: Task) -> None:
        """Makes the call and posts its one answer."""
        post = task.post
        task.thread = self
        sequence = itertools.count(1)
        said: list[Any] = []

        def host_call(number: int, payload: bytes) -> bytes:
            return self._host_call(task, next(sequence), number, payload)

        message = task.message
        job = Job(
            "_start" if isinstance(message, wire.Run) else message.function,
            b"" if isinstance(message, wire.Run) else message.payload,
            task.context,
            host_call,
            lambda stream, data: said.append(wire.Output(task.id, stream, data)),
            task.run,
            task.descriptors,
            task.shared,
            said.append,
        )

        def answer(outcome: Outcome) -> None:
            task.thread = None
            if task.descriptors:
                close_all(list(task.descriptors))
            post(*_whole(said, _answer(task.id, outcome)))

        engine = self._engine(task.plugin.limits.call_depth)
        if isinstance(message, wire.CallRows):
            answer(self._perform_rows(task, message, job, engine))
        else:
            outcome = task.plugin.perform(job, engine, answer, task.begun)
            if task.by_line and (outcome.error is None or task.begun) and isinstance(message, wire.Call):
                self.calls.lend(task.plugin, message, engine, task.begun is not None)
        self._pool.ended(task)

    def _perform_rows(self, task: Task, message: wire.CallRows, job: Job, engine: CallEngine) -> Outcome:
        """Posts what the rows end with; the outcome of them all."""

        def done(first: int, count: int, results: bytes) -> None:
            task.post(wire.RowResults(task.id, first, count, results))

        def failed(row: int, exc: BaseException, usage: Usage) -> None:
            _, code, text, detail, *_ = wire.failed(task.id, exc, usage)
            task.post(wire.RowFailed(task.id, row, code, text, detail))

        ended = rows.perform(task.plugin, rows.Rows(job, message.rows, message.stop, done, failed), engine)
        return Outcome(b"", ended.error, ended.usage)

    def _engine(self, call_depth: int) -> CallEngine:
        """This thread's call engine of that depth; plugins mostly agree on one."""
        engine = self._engines.get(call_depth)
        if engine is None:
            engine = self._engines[call_depth] = CallEngine(call_depth=call_depth)
        return engine

    def _host_call(self, task: Task, sequence: int, number: int, payload: bytes) -> bytes:
        """Asks the application and waits, making the calls meanwhile that the answer depends on. Raises HostFunctionError, or
        what the context ends the call with."""
        if len(payload) > task.plugin.limits.result_bytes:
            raise PayloadTooLarge(
                f"{len(payload)} bytes of arguments", limit="result_bytes", allowed=task.plugin.limits.result_bytes
            )
        task.post(wire.HostCall(task.id, sequence, number, payload))
        key = (task.id, sequence)
        while key not in self._early:
            task.context.check()
            try:
                item = self.answers.get(timeout=task.context.remaining())
            except Empty:
                continue
            if isinstance(item, Task):
                item.context.outer = task.context
                self._perform(item)
            elif item is not None:
                self._early[item.id, item.sequence] = item
        result = self._early.pop(key)
        if not result.ok:
            raise HostFunctionError(result.payload.decode("utf-8", "replace"))
        return result.payload


def _answer(id_: int, outcome: Outcome) -> wire.Result | wire.Failed:
    if outcome.error is not None:
        return wire.failed(id_, outcome.error, outcome.usage)
    usage = outcome.usage
    return wire.Result(id_, usage.fuel, usage.time_ns, usage.memory, outcome.payload)


def _whole(said: list[Any], answer: wire.Result | wire.Failed) -> list[Any]:
    """What was said before the answer, and the answer: in one message where there is one for the two."""
    if len(said) == 1 and type(said[0]) is wire.OutputShared and type(answer) is wire.Result:
        return [wire.ResultShared(*answer, said[0].length)]
    return [*said, answer]


class Pool:
    """The threads, the tasks that wait for one, and the plugins in use."""

    def __init__(self, count: int, post: Post, line: Line) -> None:
        self.post, self.line = post, line
        self._lock = threading.Lock()
        self._backlog: deque[Task] = deque()
        self._tasks: dict[int, Task] = {}
        self._users: dict[Plugin, int] = {}
        self._dropped: set[Plugin] = set()
        self._overtaken: deque[int] = deque(maxlen=64)
        """Ids that were cancelled and are unknown: they have ended, or their CALL, which goes another way, is still to come."""
        self._leader: WorkerThread | None = None
        """The idle thread that reads the lifeline."""
        self._idle: list[WorkerThread] = []
        """The others that wait for their inbox."""
        self._threads = [WorkerThread(self, number) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task, parent: int) -> None:
        """Gives the task to a thread: that of its parent when it has one, a persistent plugin's own, else an idle one or the
        next to be so.
        """
        with self._lock:
            self._add(task)
            self._place(task, parent, None)

    def _add(self, task: Task) -> None:
        self._tasks[task.id] = task
        if self._overtaken and task.id in self._overtaken:
            task.cancel()
        self._users[task.plugin] = self._users.get(task.plugin, 0) + 1

    def _home(self, task: Task) -> WorkerThread | None:
        return self._threads[hash(task.plugin) % len(self._threads)] if task.plugin.persistent and not task.run else None

    def _place(self, task: Task, parent: int, mine: WorkerThread | None) -> bool:
        """Under the lock; False when `mine`, an idle thread, should run it itself now."""
        home = self._home(task)
        waiting = self._tasks.get(parent) if parent else None
        if waiting is not None and waiting.thread is not None and home in (None, waiting.thread):
            waiting.thread.answers.put(task)
            return True
        if mine is not None and home in (None, mine):
            return False
        if home is None:
            if self._idle:
                home = self._idle.pop()
            else:
                self._backlog.append(task)
                if self._leader is not None and self._leader is not mine:
                    self._leader.calls.wake()  # it takes the task, unless it is in a call and somebody else is sooner free
                return True
        elif home in self._idle:
            self._idle.remove(home)
        home.inbox.put(task)
        if home is self._leader:
            self._leader = None
            home.calls.wake()
        return True

    def crowded(self) -> bool:
        """True while tasks wait for a thread."""
        return len(self._tasks) > len(self._threads)

    def next_task(self, thread: WorkerThread, pinned: bool) -> Task:
        """A thread's next task; waits for one, reading the lifeline if no other thread does. pinned: its last task had to run on
        this thread, and so will the next one of the kind: it had better read them itself.
        """
        while True:
            with self._lock:
                leader = self._leader
                if not thread.inbox.empty():
                    break
                if self._backlog:
                    if leader is thread:
                        self._leader = None
                    return self._backlog.popleft()
                if leader is not None and leader is not thread and not pinned:
                    self._idle.append(thread)
                    break
                if leader is not None and leader is not thread:
                    leader.calls.wake()
                self._leader = thread
            event = thread.calls.serve()
            task = None
            if event == call_line.READ:
                task = self._read(thread)
            elif event == call_line.BEGUN:
                task = self._take_over(thread)
            elif event == call_line.CARE:
                self._close_dropped(thread.calls.take_care())
            elif event == call_line.GONE:
                self.line.host_gone()
            else:
                pinned = False
            if task is not None:
                return task
        return thread.inbox.get()

    def _read(self, thread: WorkerThread) -> Task | None:
        """The leader has something to read: the task that it runs itself, others given to others."""
        own: Task | None = None
        tasks = self.line.read_line()
        with self._lock:
            for task in tasks:
                task.by_line = True
                self._add(task)
                mine = thread if own is None and self._leader is thread else None
                if not self._place(task, 0, mine):
                    own = task
                    self._leader = None
        return own

    def _take_over(self, thread: WorkerThread) -> Task:
        """The core has begun a call on this thread that is to be finished here."""
        task = self.line.begun(*thread.calls.taken())
        task.by_line = True
        with self._lock:
            self._add(task)
            if thread.calls.settle():
                task.cancel()
            if self._leader is thread:
                self._leader = None
        return task

    def ended(self, task: Task) -> None:
        """A task has its outcome."""
        with self._lock:
            self._tasks.pop(task.id, None)
            left = self._users[task.plugin] = self._users[task.plugin] - 1
            if not left:
                del self._users[task.plugin]
            dropped = not left and task.plugin in self._dropped
        if dropped:
            self._close_dropped(task.plugin)

    def drop(self, plugin: Plugin) -> None:
        """Closes the plugin once no call uses it."""
        with self._lock:
            self._dropped.add(plugin)
        self._close_dropped(plugin)

    def _close_dropped(self, plugin: Plugin) -> None:
        """A call of the plugin less: closes it if it was dropped, and this was the last one."""
        with self._lock:
            idle = [thread.calls.drop(plugin) for thread in self._threads] if plugin in self._dropped else [False]
            unused = all(idle) and plugin not in self._users
            if unused:
                self._dropped.discard(plugin)
        if unused:
            plugin.close()

    def cancel(self, id_: int) -> None:
        """Cancels a task; one that has ended is no error."""
        with self._lock:
            task = self._tasks.get(id_)
            found = [thread.calls.cancel(id_) for thread in self._threads] if task is None else [True]
            if not any(found):
                self._overtaken.append(id_)
        if task is not None:
            task.cancel()

    def answer(self, result: wire.HostResult) -> None:
        """Brings a host function's result to the call that waits; a late one is dropped."""
        with self._lock:
            task = self._tasks.get(result.id)
            thread = task.thread if task else None
        if thread is not None:
            thread.answers.put(result)
