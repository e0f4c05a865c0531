"""S-expressions of .wast text: lists, words and strings with their place in the source, nothing interpreted.

Text is handled as bytes decoded by latin-1, so that an index is a byte offset, a slice gives back the exact source bytes
and strings may hold anything. Source: WebAssembly Core Specification, chapter 6.3 (lexical format).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field

# One alternative a token; white space and line comments are matched first because they are the most frequent.
_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+|;;[^\r\n]*)
    | (?P<block>\(;)
    | (?P<annotation>\(@)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<word>[!\#$%&'*+\-./0-9:<=>?@A-Z\\^_`a-z|~\x80-\xff]+(?:"(?:[^"\\\n]|\\.)*")*)
    | (?P<reserved>[,;\[\]{}]+)
    """,
    re.VERBOSE,
)
_COMMENT_EDGE = re.compile(r"\(;|;\)")
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F_]+)\}|([0-9a-fA-F]{2})|([tnr\"'\\]))")
_SIMPLE_ESCAPES = {"t": b"\t", "n": b"\n", "r": b"\r", '"': b'"', "'": b"'", "\\": b"\\"}


class SyntaxFailure(Exception):
    """The text is not a sequence of s-expressions; ``line`` tells where (first line = 1)."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


@dataclass(slots=True)
class Form:
    """A parenthesised list. ``start`` and ``end`` are byte offsets in the source, ``line`` is that of the parenthesis."""

    start: int
    line: int
    end: int = 0
    items: list[Node] = field(default_factory=list)

    @property
    def head(self) -> str:
        """The word that the list begins with; empty when it begins with something else."""
        first = self.items[0] if self.items else None
        return first if isinstance(first, str) else ""


# Words are str, strings are the bytes they denote.
Node = Form | str | bytes


class Source:
    """The text of one script: its bytes, and the line of an offset."""

    def __init__(self, data: bytes) -> None:
        self.text = data.decode("latin-1")
        self._line_starts = [0] + [m.end() for m in re.finditer("\n", self.text)]

    def line(self, offset: int) -> int:
        """Line number, from 1."""
        return bisect_right(self._line_starts, offset)

    def slice(self, form: Form) -> bytes:
        """The exact source bytes of a list."""
        return self.text[form.start : form.end].encode("latin-1")


def unescape(literal: str) -> bytes:
    """The bytes that a string literal, quotes included, stands for. Raises ValueError for a bad escape."""
    body = literal[1:-1]
    if "\\" not in body:
        return body.encode("latin-1")
    out = bytearray()
    position = 0
    while (backslash := body.find("\\", position)) >= 0:
        out += body[position:backslash].encode("latin-1")
        match = _ESCAPE.match(body, backslash)
        if match is None:
            raise ValueError(f"unknown escape {body[backslash : backslash + 2]!r}")
        code_point, byte, simple = match.groups()
        if code_point:
            out += chr(int(code_point.replace("_", ""), 16)).encode()
        elif byte:
            out.append(int(byte, 16))
        else:
            out += _SIMPLE_ESCAPES[simple]
        position = match.end()
    return bytes(out + body[position:].encode("latin-1"))


def _skip_comment(source: Source, start: int) -> int:
    """Offset behind the block comment that begins at ``start``; block comments nest."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(source.text, start):
        depth += 1 if edge.group() == "(;" else -1
        if depth == 0:
            return edge.end()
    raise SyntaxFailure("unclosed comment", source.line(start))


def read(source: Source) -> list[Form]:
    """All top-level lists of the script. Annotations ``(@id ...)`` are kept in the source slices and dropped from the tree.

    Raises SyntaxFailure for unbalanced parentheses, an unclosed string or comment, or a word outside any list.
    """
    text, position, size = source.text, 0, len(source.text)
    top: list[Form] = []
    stack: list[Form] = []
    while position < size:
        token = _TOKEN.match(text, position)
        if token is None:
            raise SyntaxFailure(f"unexpected character {text[position]!r}", source.line(position))
        kind = token.lastgroup
        start, position = position, token.end()
        if kind == "space":
            continue
        if kind == "open" or kind == "annotation":
            form = Form(start, source.line(start))
            if kind == "open" and stack:
                stack[-1].items.append(form)
            elif kind == "open":
                top.append(form)
            stack.append(form)
        elif kind == "close":
            if not stack:
                raise SyntaxFailure("unexpected )", source.line(start))
            stack.pop().end = position
        elif kind == "block":
            position = _skip_comment(source, start)
        elif not stack:
            raise SyntaxFailure(f"unexpected {token.group()!r} outside a list", source.line(start))
        elif kind == "string":
            stack[-1].items.append(_string(source, start, token.group()))
        else:
            stack[-1].items.append(token.group())
    if stack:
        raise SyntaxFailure("unclosed (", stack[-1].line)
    return top


def _string(source: Source, start: int, literal: str) -> bytes:
    try:
        return unescape(literal)
    except ValueError as error:
        raise SyntaxFailure(str(error), source.line(start)) from None
