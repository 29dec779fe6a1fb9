"""Large JSON files, a piece at a time: the entries of one list without the rest in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_BYTES = 1 << 20
# An error so near to the end of what has been read may be one of what has not: "-Infinity" and
# "\uXXXX" are the longest pieces that make no sense when cut.
_NEAR = 16
_LITERALS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
# What may follow the digits of a number, and what of "\uXXXX" may be there, where a text ends.
_NUMBER_GOES_ON = re.compile(r"(?<=[0-9])(\.|[eE][+-]?)?\Z")
_ESCAPE_GOES_ON = re.compile(r"\\?u[0-9a-fA-F]{0,4}\Z")


def _is_cut(text: str, position: int) -> bool:
    """Whether text that makes no sense at a position might if it did not end where it does."""
    text = text.rstrip()
    rest = text[position : position + _NEAR]
    return any(literal.startswith(rest) for literal in _LITERALS) or any(
        piece.match(text, position) for piece in (_NUMBER_GOES_ON, _ESCAPE_GOES_ON)
    )


class Element(NamedTuple):
    """An element of the list, as it is written there."""

    text: str


def read_members(
    path: Path, listed: str, progress: Callable[[int], None] | None = None
) -> Iterator[tuple[str, object]]:
    """The members of the object that a JSON file holds, in their order.

    Args:
        path (Path): The file, UTF-8.
        listed (str): The key of a list whose elements are to come one by one: (key, None) where it
            begins, then (key, Element) for each. All others come as (key, value).
        progress (Callable, optional): Is told how many more bytes were read.

    Raises:
        ValueError: If it is no such file: what is wrong, with line and column.
        OSError: If it cannot be read.
    """
    with open(path, "rb") as file:
        text = _Text(file, progress)
        if not text.peek():
            raise ValueError("the file is empty")
        if text.peek() == "\ufeff":
            raise ValueError("it begins with a byte order mark, which loaders refuse: remove it")
        if text.peek() != "{":
            raise text.error("an object { } is expected, with data_list or with images")
        for _ in text.items("{", "}"):
            key = text.value()[0]
            if not isinstance(key, str):
                raise text.error("a key in quotes is expected")
            text.skip(":")
            if key != listed or text.peek() != "[":
                yield key, text.value()[0]
                continue
            yield key, None
            for _ in text.items("[", "]"):
                yield key, Element(text.value()[1])
        if text.peek():
            raise text.error("something follows the end of the object")


class _Text:
    """What has been read of a file and not been used."""

    def __init__(self, file, progress: Callable[[int], None] | None) -> None:
        self._file, self._progress = file, progress
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder()
        self._text, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1

    def _more(self, count: int = _BYTES) -> None:
        used = self._text[: self._at]
        lines = used.count("\n")
        self._line += lines
        self._column = len(used) - used.rfind("\n") if lines else self._column + len(used)
        raw = self._file.read(count)
        self._ended = not raw
        if self._progress is not None:
            self._progress(len(raw))
        try:
            self._text = self._text[self._at :] + self._decoder.decode(raw, final=self._ended)
        except UnicodeDecodeError as error:
            if self._ended:
                raise self.too_early(error.reason) from None
            raise ValueError(f"it is not UTF-8 ({error.reason})") from None
        self._at = 0

    def peek(self) -> str:
        """The next character that is no blank; '' at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._more()

    def skip(self, character: str) -> None:
        if self.peek() != character:
            raise self.error(f"{character!r} is expected")
        self._at += 1

    def items(self, opening: str, closing: str) -> Iterator[None]:
        """Stops before each item of an object or list, which is then to be read."""
        self.skip(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self.peek() == closing:
                self._at += 1
                return
            self.skip(",")

    def value(self) -> tuple[object, str]:
        """The next value, and its text."""
        self.peek()
        while True:
            try:
                value, stop = self._json.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                open_string = error.msg.startswith("Unterminated")
                if self._ended:
                    if open_string or _is_cut(self._text, error.pos):
                        raise self.too_early(error.msg) from None
                    raise self.error(error.msg, error.pos) from None
                if not open_string and error.pos < len(self._text) - _NEAR:
                    raise self.error(error.msg, error.pos) from None
            except RecursionError:
                raise self.error("nested too deep") from None
            else:
                if not _NUMBER_GOES_ON.match(self._text, stop):
                    text = self._text[self._at : stop]
                    self._at = stop
                    return value, text
                if self._ended:
                    raise self.too_early("Expecting the rest of a number, or ',' delimiter")
            # As much again, so that long values are not decoded over and over.
            self._more(max(_BYTES, len(self._text) - self._at))

    def error(self, what: str, position: int | None = None) -> ValueError:
        """To be raised: what is wrong, and where."""
        if self._ended and not self.peek():
            return self.too_early(what)
        before = self._text[: self._at if position is None else position]
        lines = before.count("\n")
        column = len(before) - before.rfind("\n") if lines else self._column + len(before)
        return ValueError(f"line {self._line + lines}, column {column}: {what}")

    @staticmethod
    def too_early(what: str) -> ValueError:
        return ValueError(f"it ends too early, it may be half downloaded ({what})")
