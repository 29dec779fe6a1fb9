"""The outline of one word: straight words get a rectangle, curved ones a ribbon of constant width.

As in the CRAFT paper a word is outlined by pairs of points on either side of its centre line.
Unlike there, it is laid straight first: along the circle that fits its pixels best, along a smooth
line through them where that makes a closer outline, or along its box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import Polygon

from mmtextplug.craft.arc import Frame, arc_frame, box_frame
from mmtextplug.craft.gaussian import SIGMA
from mmtextplug.craft.ribbon import Ribbon, fit_ribbons, spread

LEAST_EXPAND, MOST_EXPAND = 0.9, 1.7
"""Limits of `undo_threshold`: peaks close to the threshold tell little."""

RUNGS = 7
"""Least number of control lines of a curved word, both ends included, as in the paper."""

SLICES = 11
"""A straightened word is measured in so many slices of equal length."""

PEAK_SHARE = 0.1
"""Share of a word's pixels whose score lies above the one that its peaks are estimated from."""

PIXEL = 1.0
"""Extents count from the outermost pixels' centres; the threshold is met beyond."""

MIN_PIXELS = 10
"""Fewer pixels have no outline but their box."""

MIN_FILL = 0.25
"""Share of a straightened word that must be filled, or it is no word but a cross, a ring, ..."""

FULL = 0.95
"""A word is surely straight where one slice is as high as this share of all of it."""

RUNG_TURN = math.radians(30)
"""A curved word has a control line at least every so far."""

# Of larger words so many pixels tell the circle, and the smooth line.
_FIT_PIXELS, _LINE_PIXELS = 8192, 512


def undo_threshold(scores: np.ndarray, low_text: float) -> float:
    """How many times as high a word is as the part of it where its score exceeds a threshold.

    A Gaussian of the label transform, of the peak p and a standard deviation of ``SIGMA`` half
    sides of a character box, falls to the threshold t at ``SIGMA * sqrt(2 ln(p / t))`` half sides:
    the weaker a network's scores, the smaller what they leave of a word. The peak is estimated from
    the score that `PEAK_SHARE` of the pixels exceed; of a Gaussian above t that is
    ``p * (t / p) ** PEAK_SHARE``.

    Args:
        scores: ``(n,)`` region scores above the threshold, of one word.
        low_text: the threshold.

    Returns:
        The ratio, between `LEAST_EXPAND` and `MOST_EXPAND`; 1 where there is nothing to tell by.
    """
    if not len(scores) or low_text <= 0:
        return 1.0
    rank = int((1 - PEAK_SHARE) * (len(scores) - 1))
    score = max(float(np.partition(scores, rank)[rank]), low_text)
    above = math.log(score / low_text) / (1 - PEAK_SHARE)
    if above <= 0:
        return MOST_EXPAND
    return float(np.clip(1 / (SIGMA * math.sqrt(2 * above)), LEAST_EXPAND, MOST_EXPAND))


def word_polygon(
    mask: np.ndarray, origin: tuple[int, int], box: np.ndarray, expand: float = 1.0
) -> np.ndarray:
    """Outline a word by a polygon that follows its curvature.

    A straight word gets a rectangle along the sides of its box, which fits the word more closely
    than the box does if both are aslant. Where no construction has an answer (the word is tiny or
    not a ribbon, or its outline would cross itself) the polygon is the box.

    Args:
        mask: ``(h, w)`` uint8, non-zero at the word's text pixels, without the links: gaps between
            characters do no harm, but a link higher than they are would count as their height.
        origin: (x, y) of ``mask[0, 0]`` in the map.
        box: ``(4, 2)`` the word's rectangle in the map, corners clockwise.
        expand: height of the outline over that of the pixels, see `undo_threshold`; both ends move
            out by as much as the sides.

    Returns:
        ``(4, 2)`` of a straight word, ``(2 * RUNGS, 2)`` of a curved one, more if it turns by more
        than half a circle or as sharply; float32, (x, y) in the map, clockwise from the word's top
        left: the first and last points are one end of a word that lies, the first two of one that
        stands.

    Source: Baek et al., Character Region Awareness for Text Detection, CVPR 2019, figure 8 and
    section 3.3. Different from the authors' published post-processing: words are laid straight
    first, so that all bends and orientations are alike, and measured there; either side leaves out
    one slice at most; gaps do not matter; margins are those of the scores' Gaussian.
    """
    box = np.asarray(box, np.float32)
    pixels = int(np.count_nonzero(mask))
    line = box_frame(box)
    if line is None or pixels < MIN_PIXELS:
        return box.copy()
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=tuple(map(int, origin))
    )
    border = np.concatenate(contours)[:, 0].astype(np.float64)
    for way in ways_along(line, mask, origin, border, pixels):
        outline = way.outline(expand)
        if outline is not None:
            return outline
    return box.copy()


def ways_along(
    line: Frame, mask: np.ndarray, origin: tuple[int, int], border: np.ndarray, pixels: int
) -> list[Laid]:
    """A word laid straight in the ways that suit it, the best one first, along its box last.

    Args:
        line: along its box.
        mask, origin: as in `word_polygon`.
        border: ``(m, 2)`` (x, y) in the map of the pixels at the word's border.
        pixels: how many the word has.
    """
    ways = [Laid(line, cut_slices(line.from_map(border), pixels))]
    if ways[0].slices.are_full():
        return ways
    rows, columns = np.nonzero(mask)
    step = 1 + pixels // _FIT_PIXELS
    sample = np.stack([columns[::step] + origin[0], rows[::step] + origin[1]], axis=1)
    arc = arc_frame(sample, border)
    if arc is not None:
        ways.insert(0, Laid(arc, cut_slices(arc.from_map(border), pixels)))
    sample = sample[:: 1 + len(sample) // _LINE_PIXELS]
    thickness = min(float(spread(way.frame.from_map(sample)[:, 1])) for way in ways)
    least = min(way.size for way in ways)
    for cost, ribbon in fit_ribbons(sample, line, thickness):
        way = Laid(ribbon, cut_slices(ribbon.from_map(border), pixels))
        if cost * way.size < least:
            least = cost * way.size
            ways.insert(0, way)
    return ways


@dataclass(frozen=True)
class Slices:
    """A straightened word cut across, slices of equal length, those without pixels left out.

    Attributes:
        low, high: ``(2,)`` the least and largest (u, v).
        upper, lower: ``(S,)`` the least and largest v in each.
        pixels: how many the word has.
    """

    low: np.ndarray
    high: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    pixels: int

    def are_full(self) -> bool:
        """Whether the word fills its frame, so that it is surely straight in it."""
        length, height = (self.high - self.low + PIXEL).tolist()
        tallest = float((self.lower - self.upper).max()) + PIXEL
        return tallest > FULL * height and self.pixels > 0.5 * length * height

    def band(self) -> tuple[float, float, float, float]:
        """Start, end, top and bottom, between the outermost pixels' centres."""
        # One slice a side may stick out: a quotation mark, a tail, a speck that touches.
        spare = 1 if len(self.upper) > RUNGS - 2 else 0
        upper, lower = sorted(self.upper.tolist())[spare], sorted(self.lower.tolist())[-1 - spare]
        return float(self.low[0]), float(self.high[0]), upper, lower


def cut_slices(border: np.ndarray, pixels: int) -> Slices:
    """Cut a word of so many pixels by those at its border, ``(m, 2)`` (u, v), into `SLICES`."""
    low, high = border.min(axis=0), border.max(axis=0)
    width = max(float(high[0] - low[0]), 1e-6) / SLICES
    segment = np.minimum((border[:, 0] - low[0]) / width, SLICES - 1).astype(np.int64)
    order = np.argsort(segment, kind="stable")
    segment, v = segment[order], border[order, 1]
    first = np.flatnonzero(segment[1:] != segment[:-1]) + 1
    first = np.concatenate([[0], first])
    return Slices(low, high, np.minimum.reduceat(v, first), np.maximum.reduceat(v, first), pixels)


@dataclass(frozen=True)
class Laid:
    """A word laid straight.

    Attributes:
        frame: the coordinates in which it is.
        slices: of it there.
    """

    frame: Frame | Ribbon
    slices: Slices

    @property
    def size(self) -> float:
        """Length times height."""
        start, end, upper, lower = self.slices.band()
        return (end - start + PIXEL) * (lower - upper + PIXEL)

    def outline(self, expand: float) -> np.ndarray | None:
        """The outline that `word_polygon` returns; None if the word is no ribbon."""
        start, end, upper, lower = self.slices.band()
        height, length = lower - upper + PIXEL, end - start + PIXEL
        if min(height, length) < 2 or self.slices.pixels < MIN_FILL * height * length:
            return None
        half, middle = height * expand / 2, (upper + lower) / 2
        margin = half - height / 2 + PIXEL / 2
        start, end = start - margin, end + margin
        turn = self.frame.turn(end - start)
        rungs = max(RUNGS, math.ceil(turn / RUNG_TURN) + 1) if turn else 2
        u = np.linspace(start, end, rungs)
        sides = [np.column_stack([u, np.full(rungs, v)]) for v in (middle - half, middle + half)]
        polygon = self.frame.to_map(np.concatenate([sides[0], sides[1][::-1]]))
        if rungs > 2:
            polygon = push_out(polygon)
            if not Polygon(polygon).is_valid:
                return None
        if self.frame.standing:
            polygon = np.concatenate([polygon[-1:], polygon[:-1]])
        return polygon.astype(np.float32)


def push_out(outline: np.ndarray) -> np.ndarray:
    """Move the corners of an outline off its two curved sides, so that their chords keep the area.

    A chord cuts off two thirds of its sagitta times its length, and the sagitta is an eighth of the
    second difference of points on the curve.

    Args:
        outline: ``(2 * k, 2)``, one side from start to end, then the other one back, ``k >= 3``.
    """
    sides = outline.reshape(2, -1, 2)
    second = np.diff(sides, 2, axis=1)
    second = np.concatenate([second[:, :1], second, second[:, -1:]], axis=1)
    return (sides - second / 12).reshape(-1, 2)
