"""Logging: one logger tree, and what guests and workers print, made harmless and cut into lines."""
from __future__ import annotations

import logging

from .errors import printable

__all__ = ["GuestLines", "logger"]

logger = logging.getLogger("sandboxhost")
"""sandboxhost: life of host and workers; sandboxhost.plugin.NAME: what guests print."""
logger.addHandler(logging.NullHandler())

_MAX_LINE = 1000


class GuestLines:
    """Turns what one call writes into log records, one a line: escape sequences shown, not obeyed; long lines cut."""

    def __init__(self, plugin: str, function: str) -> None:
        self._log = logger.getChild("plugin").getChild(plugin.replace(".", "_"))
        self._function = printable(function).replace("\n", "\\n")
        self._rest = {1: b"", 2: b""}

    def write(self, stream: int, data: bytes) -> None:
        """More of one stream."""
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        for line in lines:
            self._line(stream, line)
        while len(rest) > _MAX_LINE:
            self._line(stream, rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest[stream] = rest

    def close(self) -> None:
        """The call has ended: what is left is a line too."""
        for stream, rest in self._rest.items():
            if rest:
                self._line(stream, rest)
        self._rest = {1: b"", 2: b""}

    def _line(self, stream: int, line: bytes) -> None:
        level = logging.INFO if stream == 1 else logging.WARNING
        if self._log.isEnabledFor(level):
            text = printable(line.decode("utf-8", "replace"), _MAX_LINE).replace("\n", "\\n")
            self._log.log(level, "%s: %s", self._function, text)
