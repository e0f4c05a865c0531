"""The s-expression reader: strings, comments, annotations, lines."""

from __future__ import annotations

import pytest

from spectest.sexpr import Form, Source, SyntaxFailure, read


def plain(form: Form) -> list[object]:
    return [plain(item) if isinstance(item, Form) else item for item in form.items]


def parse(text: str | bytes) -> list[list[object]]:
    return [plain(form) for form in read(Source(text if isinstance(text, bytes) else text.encode()))]


def test_lists_words_and_strings() -> None:
    assert parse('(a (b $c 0x1p-3) "s")()') == [["a", ["b", "$c", "0x1p-3"], b"s"], []]


def test_string_escapes() -> None:
    assert parse(r'("\t\n\r\"\'\\\00\fF\u{e9}\u{1F600}")') == [[b"\t\n\r\"'\\\0\xff" + "é😀".encode()]]


def test_a_string_keeps_every_byte() -> None:
    assert parse(b'("\xff\xfe(;")') == [[b"\xff\xfe(;"]]


def test_comments() -> None:
    assert parse('(a ;; b ) ( "\n(; c (; d ;) ) " ;) e;;f\n)') == [["a", "e"]]


def test_annotations_vanish_with_what_they_hold() -> None:
    assert parse('(a (@x (b) "c" (@y)) d) (@z e)') == [["a", "d"]]


def test_lines_and_slices() -> None:
    source = Source(b"(a)\n\n(b\n(c))")
    forms = read(source)
    assert [form.line for form in forms] == [1, 3]
    inner = forms[1].items[1]
    assert isinstance(inner, Form)
    assert inner.line == 4
    assert source.slice(forms[1]) == b"(b\n(c))"


@pytest.mark.parametrize("text", ["(a", "a)", ")", "(a (; b)", '("a)', "word", r'("\q")', r'("\u{110000}")', '("a\nb")'])
def test_broken_text_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(SyntaxFailure) as caught:
        parse("()\n" + text)
    assert caught.value.line >= 2
