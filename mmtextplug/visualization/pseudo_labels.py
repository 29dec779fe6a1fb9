"""Weak supervision to look at: a page a word, from its crop to the labels that result, and an
overview of the words of an image, coloured by how far their characters are to be believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import regex
import torch
from mmengine.structures import InstanceData

from mmtextplug.craft.char_split import _seeds, _seeds_by_number
from mmtextplug.craft.flood import flood
from mmtextplug.craft.pseudo_labels import WordLabel
from mmtextplug.craft.targets import ScoreMaps
from mmtextplug.craft.word_crops import cut_out
from mmtextplug.datasets.graphemes import slots

from .draw import draw_chars, draw_words, overlay_score
from .lettering import write_line
from .score_maps import IGNORED_COLOUR

# Confidence and its colour (BGR), told apart by those who confuse red and green as well.
_COLOURS = ((0.5, (60, 30, 225)), (0.75, (0, 200, 255)), (1.0, (170, 215, 0)))
_WHITE = (255, 255, 255)
# Neighbouring basins differ.
_BASINS = np.array(
    [(200, 120, 30), (40, 150, 240), (100, 180, 60), (170, 70, 190), (60, 200, 230), (140, 140, 60)]
)
# In pixels of the page.
_PANEL_HEIGHT, _PANEL_WIDTH, _LEAST_WIDTH, _SURROUNDINGS = 180, 1200, 230, 420
_TITLE, _LETTER, _HEADING, _GAP, _MARGIN = 15, 20, 30, 14, 16
_PAGE_ASPECT = 1.3
_OVERVIEW_SIDE = 820


@dataclass(frozen=True)
class Watershed:
    """How a word's region score was split, in pixels of the score.

    Attributes:
        seeds (np.ndarray): ``(h, w)`` int32, from 1; those of the right number if there are such.
        basins (np.ndarray): ``(h, w)`` int32, what each has grown to; 0 where there is none.
        threshold (float): The seeds are the areas above it.
    """

    seeds: np.ndarray
    basins: np.ndarray
    threshold: float


@dataclass(frozen=True)
class WordPage:
    """All that is to be seen of a word that was labelled.

    Attributes:
        number (int): Its place among the words of its image.
        text (str | None): Its transcription; None if unknown.
        label (WordLabel): What was found.
        confidence (float): How far it is to be believed.
        watershed (Watershed): How it was found.
        image (np.ndarray): ``(H, W, 3)`` uint8 BGR: the whole image.
        polygon (np.ndarray): ``(k, 2)``: its outline there.
        crop (np.ndarray): ``(h, w, 3)`` uint8 BGR: the word as the teacher sees it.
        targets (np.ndarray): ``(2, h, w)`` float32: the region and affinity labels of the image,
            cut out as the crop is.
    """

    number: int
    text: str | None
    label: WordLabel
    confidence: float
    watershed: Watershed
    image: np.ndarray
    polygon: np.ndarray
    crop: np.ndarray
    targets: np.ndarray


def word_watershed(
    region: np.ndarray, length: int | None, *, foreground: float, background: float
) -> Watershed:
    """The seeds and basins with which `mmtextplug.craft.char_split.split_word` splits a word.

    Args:
        region: ``(h, w)`` region score of the rectified word.
        length: Number of its characters, None if unknown.
        foreground, background: See `split_word`.

    Returns:
        Watershed: Where the word was cut into equal parts, the one that was given up.
    """
    region = np.nan_to_num(np.asarray(region, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    count, seeds = _seeds(region, foreground)
    if length is not None and count != length:
        seeds = _seeds_by_number(region, length, foreground, background, seeds)
    low = float(region[seeds == 0].max(initial=0.0))
    high = float(region[seeds > 0].min(initial=1.0))
    threshold = min(max(foreground, low), max(high, low))
    return Watershed(seeds, flood(region, seeds, background), threshold)


def read_page(
    image: np.ndarray,
    words: InstanceData,
    targets: ScoreMaps,
    label: WordLabel,
    confidence: float,
    *,
    size: tuple[int, int],
    thresholds: Mapping[str, float],
) -> WordPage:
    """Collect what there is to see of a word.

    Args:
        image: ``(H, W, 3)`` uint8 BGR, the network's input.
        words: ``gt_instances`` of the image, in its pixels.
        targets: The labels of the image, one map each, of any size.
        label: Of one of the words.
        confidence: See `mmtextplug.craft.pseudo_labels.WordLabeller.confidence`.
        size: (width, height) that the word was rectified to.
        thresholds: ``foreground`` and ``background`` that it was split with.
    """
    crop, places = label.crop, label.crop.places
    texts = words.get("texts") or [None] * len(words)
    # One crop of all channels: the labels at the image's size.
    maps = [m[0].cpu().numpy() for m in (targets.region, targets.affinity)]
    maps = [cv2.resize(m, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) for m in maps]
    layers = np.concatenate([image.astype(np.float32), np.stack(maps, axis=2)], axis=2)
    layers = torch.from_numpy(layers).permute(2, 0, 1)[None]
    flat = cut_out(layers, [crop], [size])[0, :, : size[1], : size[0]].numpy()
    return WordPage(
        number=crop.word,
        text=texts[crop.word],
        label=label,
        confidence=confidence,
        watershed=word_watershed(
            label.region, None if places is None else sum(places), **thresholds
        ),
        image=image,
        polygon=np.asarray(words.polygons[crop.word], np.float32).reshape(-1, 2),
        crop=np.rint(np.clip(flat[:3], 0, 255)).astype(np.uint8).transpose(1, 2, 0).copy(),
        targets=flat[3:],
    )


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
    scale = shown / np.array(page.label.region.shape[::-1])
    chars = (page.label.split.quads + 0.5) * scale - 0.5
    split = page.label.split
    shed = f"watershed: seeds above {page.watershed.threshold:.2f}, cuts"
    if split.equal:
        shed = f"watershed given up: {split.found} seeds; cuts"
    panels = [
        ("crop, as the teacher sees it", crop),
        ("region score", overlay_score(grey, page.label.region, 0.6)),
        (shed, _draw_watershed(grey, page.watershed, chars)),
        ("characters", _draw_letters(crop, chars, page)),
        ("region label", overlay_score(grey, page.targets[0], 0.6)),
        ("affinity label", overlay_score(grey, page.targets[1], 0.6)),
    ]
    least = max(shown[0], _LEAST_WIDTH)
    titled = [_titled(title, panel, least) for title, panel in panels]
    columns = min((1, 2, 3), key=lambda n: abs(np.log(_aspect(titled, n) / _PAGE_ASPECT)))
    rows = [
        _row([titled[i] for i in range(start, start + columns)])
        for start in range(0, len(titled), columns)
    ]
    grid = _column(rows)
    place = _titled("in the image", _draw_surroundings(page), 0)
    body = _row([place, grid])
    return _framed(_column([_heading(page, body.shape[1]), body]))


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
    picture = draw_words(shown, [p for p, i in zip(polygons, ignored) if i], IGNORED_COLOUR)
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
    maps = [
        (f"{name} label" if name != "confidence" else "confidence (red: 1, blue: 0)", name)
        for name in ("region", "affinity", "confidence")
    ]
    panels = [_titled("words and characters found", picture, 0)]
    panels += [
        _titled(title, overlay_score(grey, getattr(targets, name)[0].cpu().numpy()), 0)
        for title, name in maps
    ]
    rows = [_row(panels[:2]), _row(panels[2:])]
    return _framed(_column([*rows, _legend()]))


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
    return draw_chars(np.rint(picture).astype(np.uint8), chars, _WHITE, 2)


def _draw_letters(crop: np.ndarray, chars: np.ndarray, page: WordPage) -> np.ndarray:
    """The characters' boxes, and below them their letters, or their numbers if they do not fit."""
    picture = draw_chars(crop, chars, confidence_colour(page.confidence), 2)
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
        strip[:, start : start + line.shape[1]] = line
    return np.concatenate([picture, strip])


def _letters(page: WordPage) -> list[str]:
    """The visible characters of a word that the image shows whole."""
    places = page.label.crop.places
    if page.text is None or places is None or len(slots(page.text)) != len(places):
        return []
    return [cluster for cluster in regex.findall(r"\X", page.text) if slots(cluster)]


def _draw_surroundings(page: WordPage) -> np.ndarray:
    """The word where it lies, with its outline and its characters."""
    height, width = page.image.shape[:2]
    low, high = page.polygon.min(0), page.polygon.max(0)
    margin = 0.25 * (high - low).max() + 4
    x0, y0 = np.clip(np.floor(low - margin), 0, (width - 1, height - 1)).astype(int)
    x1, y1 = np.clip(np.ceil(high + margin), (x0 + 1, y0 + 1), (width, height)).astype(int)
    part = page.image[y0:y1, x0:x1]
    factor = _SURROUNDINGS / max(part.shape[:2])
    size = tuple(max(round(side * factor), 1) for side in part.shape[1::-1])
    picture = cv2.resize(part, size, interpolation=cv2.INTER_CUBIC)

    def shown(points: np.ndarray) -> np.ndarray:
        return (points - (x0, y0) + 0.5) * factor - 0.5

    picture = draw_chars(picture, shown(page.label.chars), confidence_colour(page.confidence), 2)
    return draw_words(picture, [shown(page.polygon)], _WHITE, thickness=1)


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
    return _column(
        [
            write_line(text, _HEADING, max_width=width),
            write_line("  ·  ".join(facts), _TITLE + 2, (60, 60, 60), width),
            bar,
        ],
        gap=0,
    )


def _legend() -> np.ndarray:
    def patch(colour: tuple[int, int, int]) -> np.ndarray:
        return np.full((round(1.5 * _TITLE), 22, 3), colour, np.uint8)

    ramp = np.array([confidence_colour(v) for v in np.linspace(0.5, 1, 160)], np.uint8)
    parts: list[np.ndarray] = [
        write_line("confidence 0.5 or less", _TITLE),
        np.repeat(ramp[None], round(1.5 * _TITLE), axis=0),
        write_line("1        =: cut into equal parts        ", _TITLE),
        patch(IGNORED_COLOUR),
        write_line("ignored        ", _TITLE),
    ]
    outlined = patch(_WHITE)
    cv2.rectangle(outlined, (0, 0), (21, outlined.shape[0] - 1), (0, 0, 0), 1)
    return _row([*parts, outlined, write_line("characters annotated", _TITLE)], gap=8)


def _write_mark(
    picture: np.ndarray, text: str, outline: np.ndarray, colour: tuple[int, int, int]
) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.5
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    x = int(np.clip(outline[0, 0], 0, max(picture.shape[1] - width, 0)))
    y = int(np.clip(outline[0, 1] - 4, height + 2, picture.shape[0] - 2))
    cv2.putText(picture, text, (x, y), font, size, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), font, size, colour, 1, cv2.LINE_AA)


def _titled(title: str, panel: np.ndarray, width: int) -> np.ndarray:
    width = max(width, panel.shape[1])
    strip = write_line(title, _TITLE, (60, 60, 60), width)
    return _column([strip, _padded(panel, panel.shape[0], width)], gap=0)


def _aspect(panels: Sequence[np.ndarray], columns: int) -> float:
    rows = -(-len(panels) // columns)
    width = columns * panels[0].shape[1] + _SURROUNDINGS
    return width / (rows * panels[0].shape[0])


def _row(pictures: Sequence[np.ndarray], gap: int = _GAP) -> np.ndarray:
    height = max(picture.shape[0] for picture in pictures)
    return np.concatenate([_padded(p, height, p.shape[1] + gap) for p in pictures], axis=1)[
        :, :-gap
    ]


def _column(pictures: Sequence[np.ndarray], gap: int = _GAP) -> np.ndarray:
    width = max(picture.shape[1] for picture in pictures)
    padded = [_padded(p, p.shape[0] + gap, width) for p in pictures]
    return np.concatenate(padded)[: -gap or None]


def _padded(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    room = ((0, height - picture.shape[0]), (0, width - picture.shape[1]), (0, 0))
    return np.pad(picture, room, constant_values=255)


def _framed(picture: np.ndarray) -> np.ndarray:
    return np.pad(picture, ((_MARGIN,) * 2, (_MARGIN,) * 2, (0, 0)), constant_values=255)
