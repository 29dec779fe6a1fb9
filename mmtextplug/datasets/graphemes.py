"""What counts as a character of a transcription: the shapes that a reader sees, and the spaces."""

from __future__ import annotations

import unicodedata

import regex

# Controls, formats, and whatever Unicode has not given a meaning: nothing to see.
_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs"}


_CLUSTER = regex.compile(r"\X")


def slots(text: str) -> list[bool]:
    """One entry for each place that a text takes: True for a character, False for a space.

    Characters are extended grapheme clusters (Unicode Annex 29): marks belong to their letters,
    emoji sequences are one. Spaces at either end take no place, nor does what cannot be seen.
    """
    return [
        not cluster.isspace()
        for cluster in _CLUSTER.findall(text.strip())
        if cluster.isspace() or any(unicodedata.category(c) not in _INVISIBLE for c in cluster)
    ]


def slots_along(text: str) -> list[bool]:
    """The entries of `slots` in the order in which they stand from left to right.

    A text whose first letter belongs to a script written from right to left (Unicode Annex 9, rule
    P2) begins at the right. Words of the other direction inside it are taken to stand likewise.
    """
    found = slots(text)
    return found[::-1] if reads_leftwards(text) else found


def reads_leftwards(text: str) -> bool:
    """Whether the first letter of a text belongs to a script written from right to left."""
    directions = (unicodedata.bidirectional(character) for character in text)
    return next((d != "L" for d in directions if d in ("L", "R", "AL")), False)


def visible_length(text: str) -> int:
    """Number of characters of a text that can be seen; spaces are none."""
    if text.isascii() and text.isprintable():  # the same, and this is asked of every word
        return len(text) - text.count(" ")
    return sum(slots(text))
