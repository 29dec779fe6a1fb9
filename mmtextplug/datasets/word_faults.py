"""What is wrong, or worth a look, with the words of one image: outlines, texts, characters.

A word that training cannot use is found by `mmtextplug.datasets.annotations.read_word`, the very
function that training asks; the checks here come on top. Everything is computed for all words of an
image at once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmtextplug.datasets.annotations import ILLEGIBLE, Word, read_word
from mmtextplug.datasets.char_faults import CHARS_AGAINST, Fault, char_faults
from mmtextplug.datasets.graphemes import visible_length
from mmtextplug.datasets.word_outlines import Outlines

REVERSED = "outline is counter-clockwise: the word reads as in a mirror"
CROSSED = "outline crosses itself"
FIELD_NEEDED = "field is missing that the loader of the config reads"
BAD_BBOX = "bbox is no list of 4 finite numbers"
BAD_IGNORE = "ignore is neither true nor false"
BAD_LABEL = "bbox_label is no number of a category"

FIELD_MISSING = "field is missing that MMOCR's loaders read"
BBOX_DIFFERS = "bbox is not that of the polygon"
ILLEGIBLE_TEXT = "text says illegible, but ignore is false"
STARTS_ELSEWHERE = "outline seems to begin at another corner than the text"
CONCAVE = "outline of 4 points is concave"
ODD_POINTS = "outline has an odd number of points"
PARTLY_OUTSIDE = "word lies partly outside of the image"
MOSTLY_OUTSIDE = "more than half of the word lies outside of the image"
TINY = "word is less than 4 pixels high"
DUPLICATE_WORD = "two words have the same outline"
TEXT_BLANKS = "text begins or ends with a blank"
TEXT_CONTROL = "text has a control character"
TEXT_REPLACED = "text has a replacement character (U+FFFD): its encoding was lost"

WORD_NOTES = frozenset(
    {
        *(FIELD_MISSING, BBOX_DIFFERS, ILLEGIBLE_TEXT, STARTS_ELSEWHERE, CONCAVE, ODD_POINTS),
        *(PARTLY_OUTSIDE, MOSTLY_OUTSIDE, CHARS_AGAINST, TINY, DUPLICATE_WORD),
        *(TEXT_BLANKS, TEXT_CONTROL, TEXT_REPLACED),
    }
)
"""Kinds that are worth a look; all others, those of `read_word` included, are errors."""

FIELDS = ("polygon", "bbox", "bbox_label", "ignore")
"""Fields of a word that MMOCR's ``LoadOCRAnnotations`` reads as detectors use it."""

MIN_HEIGHT = 4  # pixels
# How far a word may reach out of its image, a bbox may differ from its polygon; pixels.
OUTSIDE_BY, BBOX_BY = 1.0, 2.0


@dataclass
class WordCheck:
    """The words of an image.

    Attributes:
        words (list[Word | None]): As `read_word` has them.
        faults (list[Fault]): In the order of the words.
        heights, aspects (np.ndarray): ``(n,)`` of the words that are trained on: pixels, and width
            over height.
    """

    words: list[Word | None]
    faults: list[Fault]
    heights: np.ndarray = field(default_factory=lambda: np.zeros(0))
    aspects: np.ndarray = field(default_factory=lambda: np.zeros(0))


def check_words(
    instances: Sequence[dict],
    size: tuple[int, int] | None = None,
    *,
    ordered: bool = True,
    needed: Sequence[str] | None = None,
) -> WordCheck:
    """Check the words of an image.

    Args:
        instances (Sequence[dict]): As for `read_word`.
        size (tuple[int, int], optional): (height, width) of the image.
        ordered (bool): Whether outlines are to follow the reading direction, as MMOCR's do and
            COCO's do not.
        needed (Sequence[str], optional): Fields without which loading fails. None: not known, what
            is missing of `FIELDS` is worth a look.
    """
    with np.errstate(all="ignore"):  # what is too large for a float is reported as infinite
        read = [read_word(instance, size) for instance in instances]
    words = [word for word, _ in read]
    faults: list[Fault] = []
    seen: dict[bytes, int] = {}
    for index, (instance, (word, fault)) in enumerate(zip(instances, read)):
        if fault:
            faults.append((index, fault, _text(instance)))
        faults += [(index, *found) for found in _field_faults(instance, needed)]
        if word is None:
            continue
        first = seen.setdefault(word.polygon.tobytes(), index)
        if first != index:
            faults.append((index, DUPLICATE_WORD, f"also word {first}"))
        faults += [(index, *found) for found in _text_faults(instance, word)]
    check = WordCheck(words, faults)
    trained = [i for i, word in enumerate(words) if word is not None and not word.ignored]
    if trained:
        _check_outlines(check, instances, trained, size, ordered)
    check.faults.sort(key=lambda found: found[0])
    return check


def _text(instance: dict) -> str:
    text = instance.get("text")
    return "" if text is None else repr(text)[:60]


def _field_faults(instance: dict, needed: Sequence[str] | None) -> list[tuple[str, str]]:
    faults = []
    wanted = FIELDS if needed is None else needed
    missing = [name for name in wanted if instance.get(name) is None]
    if missing:
        kind = FIELD_MISSING if needed is None else FIELD_NEEDED
        faults.append((kind, ", ".join(missing)))
    if instance.get("ignore", False) not in (False, True):
        faults.append((BAD_IGNORE, repr(instance["ignore"])[:60]))
    label = instance.get("bbox_label", 0)
    if not isinstance(label, int) or not 0 <= label < 2**31:
        faults.append((BAD_LABEL, repr(instance["bbox_label"])[:60]))
    return faults


def _text_faults(instance: dict, word: Word) -> list[tuple[str, str]]:
    text = word.text
    if text is None:
        return []
    if word.ignored:
        claimed = "ignore" in instance and not instance["ignore"]
        return [(ILLEGIBLE_TEXT, repr(text))] if text in ILLEGIBLE and claimed else []
    faults = [] if text == text.strip() else [(TEXT_BLANKS, repr(text)[:60])]
    if not (text.isascii() and text.isprintable()):
        if "\ufffd" in text:
            faults.append((TEXT_REPLACED, repr(text)[:60]))
        # Lone halves of UTF-16 pairs, and byte order marks, are no better than controls.
        if any(unicodedata.category(c) in ("Cc", "Cs") or c == "\ufeff" for c in text):
            faults.append((TEXT_CONTROL, repr(text)[:60]))
    return faults


def _check_outlines(
    check: WordCheck,
    instances: Sequence[dict],
    trained: list[int],
    size: tuple[int, int] | None,
    ordered: bool,
) -> None:
    words = [check.words[i] for i in trained]
    outlines = Outlines([word.polygon for word in words])
    width, height = outlines.sides(ordered)
    check.heights, check.aspects = height, width / np.maximum(height, 1e-6)
    four, simple = outlines.count == 4, outlines.simple

    def add(kind: str, wrong: np.ndarray, detail: np.ndarray | None = None) -> None:
        for i in np.flatnonzero(wrong):
            shown = _text(instances[trained[i]]) if detail is None else f"{detail[i]:.1f} px"
            check.faults.append((trained[i], kind, shown))

    add(CROSSED, ~simple)
    add(TINY, height < MIN_HEIGHT, height)
    add(CONCAVE, simple & four & ~outlines.convex)
    limit = np.inf if size is None else np.array(size[::-1])
    beyond = np.maximum(-outlines.low, outlines.high - limit).max(1)
    inside = np.maximum(np.minimum(outlines.high, limit) - np.maximum(outlines.low, 0), 0)
    most = inside.prod(1) < 0.5 * (outlines.high - outlines.low).prod(1)
    add(MOSTLY_OUTSIDE, most, beyond)
    add(PARTLY_OUTSIDE, ~most & (beyond > OUTSIDE_BY), beyond)
    _check_boxes(check, instances, trained, outlines)
    if ordered:
        forward = simple & (outlines.area > 0)
        add(REVERSED, simple & (outlines.area < 0))
        add(ODD_POINTS, outlines.count % 2 == 1)
        add(STARTS_ELSEWHERE, forward & four & _starts_elsewhere(outlines, words))
    faults = char_faults(words, outlines, height, ordered=ordered)
    check.faults += [(trained[i], kind, detail) for i, kind, detail in faults]


def _starts_elsewhere(outlines: Outlines, words: list[Word]) -> np.ndarray:
    """Quads from which long texts would have to be read from top to bottom of a lying outline, or
    from right to left, which is upside down. Of standing outlines nothing is known: letters may
    stand on each other."""
    (x, y), (down_x, down_y) = np.abs(outlines.along).T, np.abs(outlines.across).T
    lying = (down_x > down_y) & (np.hypot(down_x, down_y) > 1.5 * np.hypot(x, y))
    for i in np.flatnonzero(lying):
        lying[i] = visible_length(words[i].text or "") > 2
    return lying | ((outlines.along[:, 0] < 0) & (x > y))


def _check_boxes(
    check: WordCheck, instances: Sequence[dict], trained: list[int], outlines: Outlines
) -> None:
    both = [
        i
        for i, index in enumerate(trained)
        if instances[index].get("polygon") is not None and "bbox" in instances[index]
    ]
    boxes, kept = [], []
    for i in both:
        try:
            box = np.asarray(instances[trained[i]]["bbox"], np.float64).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            box = np.zeros(0)
        if box.shape != (4,) or not np.isfinite(box).all():
            shown = repr(instances[trained[i]]["bbox"])[:60]
            check.faults.append((trained[i], BAD_BBOX, shown))
            continue
        boxes.append(box)
        kept.append(i)
    if not kept:
        return
    own = np.concatenate([outlines.low[kept], outlines.high[kept]], axis=1)
    apart = np.abs(np.stack(boxes) - own).max(1)
    for i in np.flatnonzero(apart > BBOX_BY):
        check.faults.append((trained[kept[i]], BBOX_DIFFERS, f"{apart[i]:.1f} px"))
