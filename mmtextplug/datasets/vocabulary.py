"""Words to draw: made up from letters, digits and punctuation, or read from a list."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

MAX_LENGTH = 12
# Chances of a word of 1, 2, ... 12 characters, near those of running English and of signs.
_LENGTHS = np.array([2, 7, 13, 17, 16, 13, 11, 8, 6, 4, 2, 1], float) / 100
_ONSETS = (
    *"bcdfghjklmnprstvwxz",
    *("br", "ch", "cl", "cr", "dr", "fl", "gr", "pl", "qu", "sp", "st", "th", "tr"),
)
_VOWELS = (*"aeiouaeioy", "ai", "ea", "ee", "ou", "io")
_CODAS = (*[""] * 4, *"nrstlmdx", "ng", "nd", "st")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_DIGITS = "0123456789"


def _pick(rng: np.random.Generator, items):
    return items[int(rng.integers(len(items)))]


def _letters(rng: np.random.Generator, length: int) -> str:
    word = "" if rng.random() < 0.7 else _pick(rng, _VOWELS)
    while len(word) < length:
        word += _pick(rng, _ONSETS) + _pick(rng, _VOWELS) + _pick(rng, _CODAS)
    return word[:length]


def random_word(rng: np.random.Generator, max_length: int = MAX_LENGTH) -> str:
    """Make up a word without spaces.

    About two thirds are pronounceable, the rest random letters, numbers (prices, times, dates,
    percentages) and codes of letters and digits, in lower, upper or title case, some with
    punctuation.

    Args:
        rng: source of chance.
        max_length: longest word allowed, at least 1.

    Returns:
        1 to ``min(max_length, 12)`` characters of printable ASCII.
    """
    limit = min(max_length, MAX_LENGTH)
    chances = _LENGTHS[:limit] / _LENGTHS[:limit].sum()
    length = 1 + int(rng.choice(limit, p=chances))
    kind = rng.random()
    if kind < 0.16:
        word = "".join(_pick(rng, _DIGITS) for _ in range(length))
        if length > 3 and rng.random() < 0.5:
            at = int(rng.integers(1, length - 1))
            word = word[:at] + _pick(rng, ".,:-/") + word[at + 1 :]
        elif length > 1 and rng.random() < 0.3:
            word = "$" + word[1:] if rng.random() < 0.5 else word[:-1] + "%"
        return word
    if kind < 0.26:
        word = "".join(_pick(rng, _LETTERS + _DIGITS) for _ in range(length))
    elif kind < 0.36:
        word = "".join(_pick(rng, _LETTERS) for _ in range(length))
    else:
        word = _letters(rng, length)
        if length > 4 and rng.random() < 0.06:
            at = int(rng.integers(2, length - 1))
            word = word[:at] + _pick(rng, "-'&") + word[at + 1 :]
    case = rng.random()
    word = word.upper() if case < 0.35 else word.capitalize() if case < 0.65 else word
    if length > 2 and rng.random() < 0.07:
        word = word[:-1] + _pick(rng, ".,:;!?")
    return word


def one_quad_a_character(word: str) -> bool:
    """Whether each code point of ``word`` is drawn on its own, from left to right.

    False for marks that combine with their neighbour, invisible characters and scripts written
    from right to left: one quad per code point in reading order would be wrong for them.
    """
    return bool(word) and all(
        unicodedata.category(c)[0] not in "MCZ" and unicodedata.bidirectional(c) not in ("R", "AL")
        for c in word
    )


def read_word_list(path: str | Path) -> tuple[str, ...]:
    """Read words separated by white space from a UTF-8 text file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not UTF-8, or without a single word that can be drawn one quad a character.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"word_list: {path} is not a file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"word_list: {path} is not UTF-8 text ({error.reason})") from error
    words = tuple(dict.fromkeys(word for word in text.split() if one_quad_a_character(word)))
    if not words:
        raise ValueError(
            f"word_list: {path} has no usable word; put one word a line, without combining marks "
            "and not in a script written from right to left"
        )
    return words
