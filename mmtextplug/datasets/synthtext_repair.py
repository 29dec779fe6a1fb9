"""What SynthText's annotations mean: characters matched to words, faults repaired or left out.

Repaired is what is certain. A word whose characters are in doubt keeps its box without them, a
word whose box is in doubt is left out, and so is an image that would then have none. Every fault
is counted under one of the sentences below.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping

import numpy as np

from mmtextplug.datasets.graphemes import visible_length
from mmtextplug.datasets.synthtext_gt import GroundTruth
from mmtextplug.datasets.synthtext_index import Chunk

IMAGE_NAMELESS = "image without a file name: left out"
IMAGE_MISMATCH = "image whose words and boxes differ in number: left out"
IMAGE_EMPTY = "image without a usable word: left out"
IMAGE_REBUILT = "image whose words and word boxes differ in number: made from characters"
WORD_TURNED = "word box mirrored or with swapped corners: reordered"
WORD_REBUILT = "word box broken: made from its characters"
WORD_BROKEN = "word box broken: word left out"
WORD_OUTSIDE = "word outside of the image: left out"
WORD_REACHING = "word box reaching out of the image: kept"
WORD_UNMATCHED = "word whose text does not match the character boxes: no characters"
WORD_BROKEN_CHARS = "word with a broken character box: no characters"
WORD_STRAY_CHARS = "word with a character box that reaches far out of it: no characters"
WORD_CHARS_OUTSIDE = "word with all characters outside of the image: no characters"
CHAR_TURNED = "character box mirrored or with swapped corners: reordered"
CHAR_BROKEN = "character box not finite, without area or concave"
CHAR_MARK = "box of a combining mark, or of what cannot be seen: left out"
CHAR_REACHING = "character box reaching out of the image: kept"

FAULTS = (
    *(IMAGE_NAMELESS, IMAGE_MISMATCH, IMAGE_EMPTY, IMAGE_REBUILT),
    *(WORD_TURNED, WORD_REBUILT, WORD_BROKEN, WORD_OUTSIDE, WORD_REACHING),
    *(WORD_UNMATCHED, WORD_BROKEN_CHARS, WORD_STRAY_CHARS, WORD_CHARS_OUTSIDE),
    *(CHAR_TURNED, CHAR_BROKEN, CHAR_MARK, CHAR_REACHING),
)
"""All of them, in the order of a report."""

MIN_AREA = 0.01  # square pixels
MAX_COORDINATE = 1e5  # pixels; no image of the dataset has a thousand
# How far characters may reach out of the box of their word, in parts of its longer side.
STRAY = 0.25


def clean(
    truth: GroundTruth,
    images: range,
    faults: Counter[str],
    *,
    sizes: np.ndarray | None = None,
    unusable: Mapping[int, str] | None = None,
) -> Chunk:
    """Turn some images of the ground truth into rows of an index.

    Every word that comes out passes `mmtextplug.datasets.annotations.read_word`.

    Args:
        truth (GroundTruth): All images.
        images (range): Which of them, in steps of 1.
        faults (Counter[str]): Counts what is wrong, under `FAULTS` and the values of ``unusable``.
        sizes (np.ndarray, optional): ``(len(images), 2)`` height and width; 0 if not known: then
            nothing is outside to the right or below.
        unusable (Mapping[int, str], optional): Images to leave out, and why.
    """
    sizes = np.zeros((len(images), 2)) if sizes is None else np.asarray(sizes)
    kept, texts, source, chars, counts = _match(truth, images, faults, unusable or {})
    sizes = sizes[[i - images.start for i, _ in kept]]
    image = np.repeat(np.arange(len(kept)), [n for _, n in kept])
    words = np.full((len(texts), 4, 2), np.nan, np.float32)
    words[source >= 0] = truth.words[source[source >= 0]]
    owner = np.repeat(np.arange(len(texts)), counts)

    direction = _reading_direction(words, chars, counts)
    chars, char_fine = _repair(chars, direction[owner], faults, CHAR_TURNED)
    faults[CHAR_BROKEN] += int((~char_fine).sum())
    broken = _any(~char_fine, owner, len(texts))
    words, fine = _repair(words, direction, faults, WORD_TURNED)
    ends = np.cumsum(counts)
    for i in np.flatnonzero(~fine & ~broken & (counts > 0)):
        words[i] = _enclose(chars[ends[i] - counts[i] : ends[i]], direction[i])
        fine[i] = sound_quads(words[i : i + 1])[0]
        faults[WORD_REBUILT] += int(fine[i] and source[i] >= 0)
    faults[WORD_BROKEN] += int((~fine).sum())

    # Where the size is not known, nothing ends.
    limit = np.where(sizes > 0, sizes, np.inf)[:, ::-1]
    word_outside, word_reaching = _outside(words, limit[image])
    faults[WORD_OUTSIDE] += int((fine & word_outside).sum())
    keep = fine & ~word_outside
    faults[WORD_REACHING] += int((keep & word_reaching).sum())
    char_outside, char_reaching = _outside(chars, limit[image][owner])

    known = keep & (counts > 0)
    for fault, wrong in (
        (WORD_BROKEN_CHARS, broken),
        (WORD_STRAY_CHARS, _any(_stray(chars, words[owner]), owner, len(texts))),
        (WORD_CHARS_OUTSIDE, ~_any(~char_outside, owner, len(texts))),
    ):
        faults[fault] += int((known & wrong).sum())
        known &= ~wrong
    faults[CHAR_REACHING] += int((known[owner] & char_reaching).sum())

    word_counts = np.bincount(image[keep], minlength=len(kept))
    filled = word_counts > 0
    faults[IMAGE_EMPTY] += int((~filled).sum())
    return Chunk(
        names=[truth.names[i] for (i, _), any_word in zip(kept, filled) if any_word],
        sizes=sizes[filled],
        word_counts=word_counts[filled],
        texts=[text for text, stays in zip(texts, keep) if stays],
        words=words[keep],
        char_counts=np.where(known, counts, 0)[keep],
        chars=chars[known[owner]],
    )


def _match(
    truth: GroundTruth, images: range, faults: Counter[str], unusable: Mapping[int, str]
) -> tuple[list[tuple[int, int]], list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Which boxes belong to which words.

    Returns:
        tuple: (image, number of words) of n images; their W words; ``(W,)`` their boxes, -1 for
        none; ``(C, 4, 2)`` the characters of all; ``(W,)`` how many each word has, 0 if unknown.
    """
    kept: list[tuple[int, int]] = []
    texts: list[str] = []
    word_source: list[int] = []
    char_source: list[int] = []
    counts: list[int] = []
    whole = slice(images.start, images.stop)
    # Within the slice, counted from the first box of all.
    word_starts = _starts(truth.word_counts, images)
    char_starts = _starts(truth.char_counts, images)
    for i, word_start, boxes, char_start, char_boxes in zip(
        images, word_starts, truth.word_counts[whole], char_starts, truth.char_counts[whole]
    ):
        if i in unusable or not truth.names[i]:
            faults[unusable.get(i, IMAGE_NAMELESS)] += 1
            continue
        words = truth.texts[i].split()
        letters = "".join(words)
        lengths = visible = [len(word) for word in words]
        if not (letters.isascii() and letters.isprintable()):
            visible = [visible_length(word) for word in words]
        matched = char_boxes in (len(letters), sum(visible))
        if not words:
            faults[IMAGE_EMPTY] += 1
            continue
        if boxes != len(words):
            if not matched:
                faults[IMAGE_MISMATCH] += 1
                continue
            faults[IMAGE_REBUILT] += 1
        if not matched:
            faults[WORD_UNMATCHED] += len(words)
            counts += [0] * len(words)
        elif char_boxes == len(letters) and visible != lengths:
            for word, length in zip(words, visible):
                seen = _seen(word)
                if seen:
                    faults[CHAR_MARK] += len(word) - length
                else:
                    faults[WORD_UNMATCHED] += 1
                char_source += [char_start + k for k in seen]
                counts.append(len(seen))
                char_start += len(word)
        else:
            char_source += range(char_start, char_start + int(char_boxes))
            counts += visible
        kept.append((i, len(words)))
        texts += words
        word_source += (
            range(word_start, word_start + int(boxes)) if boxes == len(words) else [-1] * len(words)
        )
    return (
        kept,
        texts,
        np.array(word_source, np.int64),
        truth.chars[np.array(char_source, np.int64)],
        np.array(counts, np.int64),
    )


def _seen(word: str) -> list[int]:
    """The code points whose boxes are those of a word's characters; none if that is not certain.

    It is where all but the first of a character are marks, or not to be seen.
    """
    lengths = [visible_length(word[:k]) for k in range(len(word) + 1)]
    seen = [k for k in range(len(word)) if lengths[k + 1] > lengths[k]]
    rest = set(range(len(word))).difference(seen)
    certain = len(seen) == lengths[-1] and all(
        unicodedata.category(word[k])[0] in "MC" for k in rest
    )
    return seen if certain else []


def _starts(counts: np.ndarray, images: range) -> list[int]:
    counts = np.maximum(counts, 0)
    first = counts[: images.start].sum()
    part = counts[images.start : images.stop]
    return (first + np.cumsum(part) - part).tolist()


def sound_quads(quads: np.ndarray) -> np.ndarray:
    """Which quads ``(N, 4, 2)`` are finite, convex, clockwise and have an area; ``(N,)`` bool."""
    with np.errstate(invalid="ignore", over="ignore"):
        # In the precision in which `read_word` decides.
        edges = quads[:, [1, 2, 3, 0]] - quads
        turned = edges[:, [1, 2, 3, 0]]
        turns = edges[..., 0] * turned[..., 1] - edges[..., 1] * turned[..., 0]
        across = (quads[:, 2:] - quads[:, :2]).astype(np.float64)
        area = (across[:, 0, 0] * across[:, 1, 1] - across[:, 0, 1] * across[:, 1, 0]) / 2
        inside = (np.abs(quads) < MAX_COORDINATE).all((1, 2))
        return inside & (turns > 0).all(1) & (area > MIN_AREA)


def reorder_quads(quads: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Put corners in clockwise order, first the edge that runs along the reading direction.

    Text seen from behind has boxes whose corners run counter-clockwise; so ordered, they keep
    their side towards the reader's start on the left.

    Args:
        quads (np.ndarray): ``(N, 4, 2)``, corners in convex position, in any order.
        direction (np.ndarray): ``(N, 2)``.
    """
    arm = quads - quads.mean(1, keepdims=True)
    order = np.argsort(np.arctan2(arm[..., 1], arm[..., 0]), axis=1)
    quads = np.take_along_axis(quads, order[..., None], 1)
    edges = quads[:, [1, 2, 3, 0]] - quads
    along = edges - edges[:, [2, 3, 0, 1]]
    length = np.maximum(np.linalg.norm(along, axis=2), np.finfo(np.float32).tiny)
    first = ((along * direction[:, None]).sum(2) / length).argmax(1)
    return np.take_along_axis(quads, ((first[:, None] + np.arange(4)) % 4)[..., None], 1)


def _repair(
    quads: np.ndarray, direction: np.ndarray, faults: Counter[str], fault: str
) -> tuple[np.ndarray, np.ndarray]:
    fine = sound_quads(quads)
    (wrong,) = np.nonzero(~fine & (np.abs(quads) < MAX_COORDINATE).all((1, 2)))
    mended = reorder_quads(quads[wrong], direction[wrong])
    success = sound_quads(mended)
    quads[wrong[success]] = mended[success]
    fine[wrong[success]] = True
    faults[fault] += int(success.sum())
    return quads, fine


def _reading_direction(words: np.ndarray, chars: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """From the first character to the last, else along the word box, else to the right; (W, 2)."""
    with np.errstate(invalid="ignore", over="ignore"):
        direction = words[:, 1] - words[:, 0] + words[:, 2] - words[:, 3]
        # Means do not depend on the order of corners.
        centres = chars.mean(1)
        (several,) = np.nonzero(counts > 1)
        last = np.cumsum(counts)[several]
        step = centres[last - 1] - centres[last - counts[several]]
        usable = np.isfinite(step).all(1) & step.any(1)
    direction[several[usable]] = step[usable]
    direction[~(np.isfinite(direction).all(1) & direction.any(1))] = (1, 0)
    return direction


def _enclose(chars: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """The rectangle along the reading direction that holds all characters; ``(4, 2)``."""
    if len(chars) == 1:
        return chars[0]
    along = direction / np.linalg.norm(direction)
    axes = np.array([along, [-along[1], along[0]]])
    corners = chars.reshape(-1, 2) @ axes.T
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]]) @ axes


def _outside(quads: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which quads lie outside of images of (width, height) ``limit``, and which partly."""
    low, high = quads.min(1), quads.max(1)
    return ((high <= 0) | (low >= limit)).any(1), ((low < 0) | (high > limit)).any(1)


def _stray(chars: np.ndarray, words: np.ndarray) -> np.ndarray:
    low, high = words.min(1), words.max(1)
    margin = STRAY * (high - low).max(1, keepdims=True)
    return ((chars.min(1) < low - margin) | (chars.max(1) > high + margin)).any(1)


def _any(flags: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(owner[flags], minlength=count) > 0
