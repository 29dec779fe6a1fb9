"""Weak supervision to look at: a page a word, from its crop to the labels that result, and an
overview of the words of an image, coloured by how far their characters are to be believed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import regex
from mmengine.structures import InstanceData

from mmtextplug.craft.targets import ScoreMaps
from mmtextplug.craft.word_labeller import WordLabel
from mmtextplug.datasets.graphemes import reads_leftwards, slots

from .draw import draw_chars, draw_words, overlay_score
from .lettering import write_line
from .score_maps import IGNORED_COLOUR
from .sheet import TITLE_COLOUR, TITLE_PX, column, framed, row, titled
from .word_page import Watershed, WordPage

# Confidence and its colour (BGR), told apart by those who confuse red and green as well.
_COLOURS = ((0.5, (60, 30, 225)), (0.75, (0, 200, 255)), (1.0, (170, 215, 0)))
_WHITE = (255, 255, 255)
# Neighbouring basins differ.
_BASINS = np.array(
    [(200, 120, 30), (40, 150, 240), (100, 180, 60), (170, 70, 190), (60, 200, 230), (140, 140, 60)]
)
# In pixels of the page.
_PANEL_HEIGHT, _PANEL_WIDTH, _LEAST_WIDTH = 180, 1200, 230
_SIDE_WIDTH, _STRIP_HEIGHT = 420, 260
_LETTER, _HEADING, _INSET = 20, 30, 9
_PAGE_ASPECT = 1.6
# At least so many times a word's extent is shown around it.
_AROUND = 1.5
_OVERVIEW_SIDE = 820


def draw_page(page: WordPage) -> np.ndarray:
    """The page of a word, ``(H, W, 3)`` uint8 BGR.

    The word in its image, its crop, the region score, the watershed with the cuts, the characters
    with their letters, and the region and affinity labels that result, under a line that says what
    was found.
    """
    height, width = page.crop.shape[:2]
    factor = min(_PANEL_HEIGHT / height, _PANEL_WIDTH / width)
    shown = (max(round(width * factor), 1), max(round(height * factor), 1))
    crop = cv2.resize(page.crop, shown, interpolation=cv2.INTER_CUBIC)
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    split = page.label.split
    scale = shown / np.array(page.label.region.shape[::-1])
    chars = (split.quads + 0.5) * scale - 0.5
    shed = f"watershed: seeds above {page.watershed.threshold:.2f}"
    if split.equal:
        shed = "watershed: given up, equal parts"
    panels = [
        ("crop, as the teacher sees it", crop),
        ("region score", overlay_score(grey, page.label.region, 0.6)),
        (shed, _draw_watershed(grey, page.watershed, chars)),
        ("characters", _draw_letters(crop, chars, page)),
        ("region label", overlay_score(grey, page.targets[0], 0.6)),
        ("affinity label", overlay_score(grey, page.targets[1], 0.6)),
    ]
    least = max(shown[0], _LEAST_WIDTH)
    sheets = [titled(title, panel, least) for title, panel in panels]

    def aspect(columns: int) -> float:
        rows = -(-len(sheets) // columns)
        return (columns * least + _SIDE_WIDTH) / (rows * sheets[0].shape[0])

    columns = min((1, 2, 3), key=lambda n: abs(np.log(aspect(n) / _PAGE_ASPECT)))
    grid = column([row(sheets[i : i + columns]) for i in range(0, len(sheets), columns)])
    # A tall grid has the image at its side, a wide one above it.
    beside = columns > 1 or grid.shape[1] < grid.shape[0]
    title_height = sheets[0].shape[0] - shown[1]
    place = (_SIDE_WIDTH, grid.shape[0] - title_height) if beside else (least, _STRIP_HEIGHT)
    around = titled("in the image", _draw_surroundings(page, place))
    body = row([around, grid]) if beside else column([around, grid])
    return framed(column([_heading(page, body.shape[1]), body]))


def draw_overview(
    image: np.ndarray,
    words: InstanceData,
    labels: Sequence[WordLabel],
    confidences: Sequence[float],
    targets: ScoreMaps,
) -> np.ndarray:
    """An image with the characters that were found in it, and the labels that result.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, the network's input.
        words: ``gt_instances`` of the image, in its pixels.
        labels, confidences: Of the words that were labelled.
        targets: The labels of the image, one map each.

    Returns:
        ``(H', W', 3)`` uint8, BGR.
    """
    factor = _OVERVIEW_SIDE / max(image.shape[:2])
    size = tuple(max(round(side * factor), 1) for side in image.shape[1::-1])
    shown = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    polygons = [(np.reshape(p, (-1, 2)) + 0.5) * factor - 0.5 for p in words.polygons]
    ignored = np.asarray(words.get("ignored", np.zeros(len(polygons))), bool)
    unread = [p for p, i in zip(polygons, ignored) if i]
    picture = draw_words(shown, unread, IGNORED_COLOUR, thickness=2)
    labelled = {label.crop.word for label in labels}
    known = [
        c
        for i, c in enumerate(words.get("chars", []))
        if c is not None and i not in labelled and not ignored[i]
    ]
    picture = draw_chars(picture, [(c + 0.5) * factor - 0.5 for c in known], _WHITE, 1)
    # The doubtful ones last, on top.
    for label, confidence in sorted(zip(labels, confidences), key=lambda pair: -pair[1]):
        colour = confidence_colour(confidence)
        picture = draw_chars(picture, (label.chars + 0.5) * factor - 0.5, colour, 1)
        picture = draw_words(picture, [polygons[label.crop.word]], colour, thickness=2)
    for label, confidence in zip(labels, confidences):
        mark = f"{label.crop.word}{'=' if label.split.equal else ''}"
        _write_mark(picture, mark, polygons[label.crop.word], confidence_colour(confidence))
    grey = cv2.cvtColor(shown, cv2.COLOR_BGR2GRAY)
    found = titled("words, by number, and characters found", picture)
    region, affinity, trust = (
        titled(title, overlay_score(grey, maps[0].cpu().numpy()))
        for title, maps in (
            ("region label", targets.region),
            ("affinity label", targets.affinity),
            ("confidence (red: 1, blue: 0)", targets.confidence),
        )
    )
    return framed(column([row([found, region]), row([affinity, trust]), _legend()]))


def confidence_colour(value: float) -> tuple[int, int, int]:
    """The colour (BGR) of a word's confidence: red up to 0.5, yellow, green at 1."""
    stops, colours = zip(*_COLOURS)
    return tuple(round(float(np.interp(value, stops, channel))) for channel in zip(*colours))


def _draw_watershed(grey: np.ndarray, watershed: Watershed, chars: np.ndarray) -> np.ndarray:
    size = grey.shape[::-1]
    basins, seeds = (
        cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        for labels in (watershed.basins.astype(np.float32), watershed.seeds.astype(np.float32))
    )
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.float32)
    paint = _BASINS[basins.astype(int) % len(_BASINS)]
    for mask, weight in ((basins > 0, 0.5), (seeds > 0, 0.7)):
        picture[mask] = (1 - weight) * picture[mask] + weight * paint[mask]
    return draw_chars(np.rint(picture).astype(np.uint8), chars, _WHITE, 1)


def _draw_letters(crop: np.ndarray, chars: np.ndarray, page: WordPage) -> np.ndarray:
    """The characters' boxes, and below them their letters, or their numbers if they do not fit."""
    # Every other box is drawn lower, so that overlaps can be told from gaps.
    inset = np.zeros_like(chars)
    inset[1::2, :2, 1], inset[1::2, 2:, 1] = _INSET, -_INSET
    picture = draw_chars(crop, chars + inset, confidence_colour(page.confidence), 2)
    marks = _letters(page)
    if len(marks) != len(chars):
        marks = [str(number + 1) for number in range(len(chars))]
    strip = np.full((round(1.5 * _LETTER), picture.shape[1], 3), 255, np.uint8)
    for mark, quad in zip(marks, chars):
        left, right = np.clip(np.rint([quad[:, 0].min(), quad[:, 0].max()]), 0, picture.shape[1])
        if right - left < 4:
            continue
        line = write_line(mark, _LETTER, max_width=int(right - left))
        start = int(left + right - line.shape[1]) // 2
        part = strip[:, start : start + line.shape[1]]
        np.minimum(part, line, out=part)  # boxes may overlap
    return np.concatenate([picture, strip])


def _letters(page: WordPage) -> list[str]:
    """The visible characters of a word that the image shows whole, as the band has them."""
    places = page.label.crop.places
    if page.text is None or places is None or len(slots(page.text)) != len(places):
        return []
    letters = [cluster for cluster in regex.findall(r"\X", page.text) if slots(cluster)]
    leftwards = reads_leftwards(page.text) and not page.label.crop.band.is_upright
    return letters[::-1] if leftwards else letters


def _draw_surroundings(page: WordPage, size: tuple[int, int]) -> np.ndarray:
    """The word where it lies, with its outline and its characters, in a panel (width, height)."""
    low, high = page.polygon.min(0), page.polygon.max(0)
    factor = (np.array(size) / (_AROUND * (high - low) + 8)).min()
    # As much of the image as there is, the word in the middle where that can be.
    whole = np.maximum(np.array(page.image.shape[1::-1]) * factor, 1).astype(int)
    size = np.minimum(size, whole)
    shift = -np.clip(factor * (low + high) / 2 - size / 2, 0, whole - size)
    picture = cv2.warpAffine(
        page.image,
        np.column_stack([np.eye(2) * factor, shift]),
        tuple(size.tolist()),
        flags=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    chars = page.label.chars * factor + shift
    picture = draw_chars(picture, chars, confidence_colour(page.confidence), 2)
    return draw_words(picture, [page.polygon * factor + shift], _WHITE, thickness=1)


def _heading(page: WordPage, width: int) -> np.ndarray:
    split, places = page.label.split, page.label.crop.places
    facts = [f"word {page.number}"]
    if places is None:
        facts += [f"found {split.found}"]
    else:
        whole = sum(slots(page.text))
        part = f" of {whole}: the rest is outside the image" if sum(places) != whole else ""
        facts += [f"length {sum(places)}{part}", f"found {split.found}"]
    facts.append(f"confidence {page.confidence:.2f}")
    if split.equal:
        facts.append("cut into equal parts")
    elif places is not None and split.found != len(split.quads):
        facts.append(f"{len(split.quads)} with the length known")
    text = "(text unknown)" if page.text is None else page.text
    bar = np.full((6, width, 3), confidence_colour(page.confidence), np.uint8)
    return column(
        [
            write_line(text, _HEADING, max_width=width),
            write_line("  ·  ".join(facts), TITLE_PX + 2, TITLE_COLOUR, width),
            bar,
        ],
        gap=0,
    )


def _legend() -> np.ndarray:
    def patch(colour: tuple[int, int, int]) -> np.ndarray:
        return np.full((round(1.5 * TITLE_PX), 22, 3), colour, np.uint8)

    ramp = np.array([confidence_colour(v) for v in np.linspace(0.5, 1, 160)], np.uint8)
    parts: list[np.ndarray] = [
        write_line("confidence 0.5 or less", TITLE_PX),
        np.repeat(ramp[None], round(1.5 * TITLE_PX), axis=0),
        write_line("1        =: cut into equal parts        ", TITLE_PX),
        patch(IGNORED_COLOUR),
        write_line("ignored        ", TITLE_PX),
    ]
    outlined = patch(_WHITE)
    cv2.rectangle(outlined, (0, 0), (21, outlined.shape[0] - 1), (0, 0, 0), 1)
    return row([*parts, outlined, write_line("characters annotated", TITLE_PX)], gap=8)


def _write_mark(
    picture: np.ndarray, text: str, outline: np.ndarray, colour: tuple[int, int, int]
) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.7
    (width, height), _ = cv2.getTextSize(text, font, size, 2)
    x = int(np.clip(outline[0, 0], 0, max(picture.shape[1] - width, 0)))
    y = int(np.clip(outline[0, 1] - 4, height + 2, picture.shape[0] - 2))
    cv2.putText(picture, text, (x, y), font, size, (0, 0, 0), 5, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), font, size, colour, 2, cv2.LINE_AA)
