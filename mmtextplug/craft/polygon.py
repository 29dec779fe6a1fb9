"""The outline of one word: straight words get a rectangle, curved ones a ribbon of constant width.

As in the CRAFT paper a word is scanned across its reading direction and outlined by pairs of points
on either side of its centre line. Unlike there, the word is laid straight first: along the circle
that fits its pixels best, or along its box where that circle is nearly a line. What then still
bends, such as a wave, is traced by the paper's pivots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from shapely.geometry import Polygon

from mmtextplug.craft.arc import Frame, arc_frame, box_frame
from mmtextplug.craft.gaussian import SIGMA
from mmtextplug.craft.ribbon import (
    PIVOTS,
    SEGMENTS,
    bend,
    ribbon_outline,
    trace_ribbon,
)

LEAST_EXPAND, MOST_EXPAND = 0.9, 1.7
"""Limits of `undo_threshold`: peaks close to the threshold tell little."""

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

LEAST_WAVE = 0.25
"""A straightened word bends by more than this share of its height, or it is laid straight well."""

RUNG_TURN = math.radians(30)
"""An arc has a control line at least every so far."""

OPENCV_LIMIT = 2**15 - 1
"""OpenCV remaps no image of more pixels a side."""

_FIT_PIXELS = 8192


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
        mask: ``(h, w)`` uint8, non-zero at the word's pixels, links included.
        origin: (x, y) of ``mask[0, 0]`` in the map.
        box: ``(4, 2)`` the word's rectangle in the map, corners clockwise.
        expand: height of the outline over that of the pixels, see `undo_threshold`; both ends move
            out by as much as the sides.

    Returns:
        ``(4, 2)`` of a straight word, ``(2 * PIVOTS + 4, 2)`` of a curved one, more if it turns by
        more than half a circle; float32, (x, y) in the map, clockwise from the word's top left: the
        first and last points are one end of a word that lies, the first two of one that stands.

    Source: Baek et al., Character Region Awareness for Text Detection, CVPR 2019, figure 8 and
    section 3.3. Different from the authors' published post-processing: words are laid straight
    first, so that all bends and orientations are alike; either side leaves out one slice at most;
    gaps are interpolated; margins are those of the scores' Gaussian.
    """
    box = np.asarray(box, np.float32)
    pixels = int(np.count_nonzero(mask))
    line = box_frame(box)
    if line is None or pixels < MIN_PIXELS or max(mask.shape) >= OPENCV_LIMIT:
        return box.copy()
    contours, _ = cv2.findContours(
        mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=tuple(map(int, origin))
    )
    border = np.concatenate(contours)[:, 0].astype(np.float64)
    inside = line.from_map(border)
    slices = cut_slices(inside, pixels)
    if not slices.are_full():
        rows, columns = np.nonzero(mask)
        step = 1 + pixels // _FIT_PIXELS
        sample = np.stack([columns[::step] + origin[0], rows[::step] + origin[1]], axis=1)
        arc = arc_frame(sample, border)
        outline = None
        if arc is not None:
            around = arc.from_map(border)
            slices_around = cut_slices(around, pixels)
            outline = frame_outline(arc, mask, origin, around, slices_around, expand)
        if outline is not None:
            return outline
    outline = frame_outline(line, mask, origin, inside, slices, expand)
    return box.copy() if outline is None else outline


def frame_outline(
    frame: Frame,
    mask: np.ndarray,
    origin: tuple[int, int],
    inside: np.ndarray,
    slices: Slices,
    expand: float,
) -> np.ndarray | None:
    """The outline of a word laid straight in a frame, as `word_polygon` returns it, or None.

    Args:
        frame: along the word.
        mask: ``(h, w)`` uint8, non-zero at the word's pixels.
        origin: (x, y) of ``mask[0, 0]`` in the map.
        inside: ``(m, 2)`` (u, v) of the pixels at the word's border.
        slices: of the same.
        expand: see `word_polygon`.
    """
    outline = None
    if not slices.are_full() and not slices.are_straight():
        outline = wavy_outline(frame, mask, origin, inside, expand)
    if outline is None:
        outline = band_outline(slices, abs(frame.curvature), expand)
    if outline is None:
        return None
    polygon = frame.to_map(outline)
    if len(polygon) > 4:
        polygon = push_out(polygon)
        if not Polygon(polygon).is_valid:
            return None
    if frame.standing:
        polygon = np.concatenate([polygon[-1:], polygon[:-1]])
    return polygon.astype(np.float32)


@dataclass(frozen=True)
class Slices:
    """A straightened word cut across, slices of equal length, those without pixels left out.

    Attributes:
        low, high: ``(2,)`` the least and largest (u, v).
        middle: ``(S,)`` u of the slices' middles.
        upper, lower: ``(S,)`` the least and largest v in each.
        pixels: how many the word has.
    """

    low: np.ndarray
    high: np.ndarray
    middle: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    pixels: int

    def are_full(self) -> bool:
        """Whether the word fills its frame, so that it is surely straight in it."""
        length, height = (self.high - self.low + PIXEL).tolist()
        tallest = float((self.lower - self.upper).max()) + PIXEL
        return tallest > FULL * height and self.pixels > 0.5 * length * height

    def are_straight(self) -> bool:
        """Whether the slices' centres lie on a line."""
        line = np.column_stack([self.middle, (self.upper + self.lower) / 2])
        height = float(np.median(self.lower - self.upper)) + PIXEL
        return len(line) < 3 or bend(line) <= max(1.0, LEAST_WAVE * height)


def cut_slices(border: np.ndarray, pixels: int) -> Slices:
    """Cut a word of so many pixels by those at its border, ``(m, 2)`` (u, v), into `SEGMENTS`."""
    low, high = border.min(axis=0), border.max(axis=0)
    width = max(float(high[0] - low[0]), 1e-6) / SEGMENTS
    segment = np.minimum((border[:, 0] - low[0]) / width, SEGMENTS - 1).astype(np.int64)
    order = np.argsort(segment, kind="stable")
    segment, v = segment[order], border[order, 1]
    first = np.flatnonzero(segment[1:] != segment[:-1]) + 1
    first = np.concatenate([[0], first])
    middle = low[0] + (segment[first] + 0.5) * width
    upper, lower = np.minimum.reduceat(v, first), np.maximum.reduceat(v, first)
    return Slices(low, high, middle, upper, lower, pixels)


def band_outline(slices: Slices, curvature: float, expand: float) -> np.ndarray | None:
    """The outline of a straightened word between two parallel sides; None if it is too empty.

    Args:
        slices: of the word.
        curvature: by which it was bent: an arc has a control line every so often.
        expand: see `word_polygon`.

    Returns:
        ``(2 * k, 2)`` float64 (u, v), clockwise from the top left.
    """
    # One slice a side may stick out: a quotation mark, a tail, a speck that touches.
    spare = 1 if len(slices.middle) > PIVOTS else 0
    upper, lower = sorted(slices.upper.tolist())[spare], sorted(slices.lower.tolist())[-1 - spare]
    start, end = float(slices.low[0]), float(slices.high[0])
    height, length = lower - upper + PIXEL, end - start + PIXEL
    if min(height, length) < 2 or slices.pixels < MIN_FILL * height * length:
        return None
    half, middle = height * expand / 2, (upper + lower) / 2
    margin = half - height / 2 + PIXEL / 2
    start, end, top, bottom = start - margin, end + margin, middle - half, middle + half
    if not curvature:
        return np.array([[start, top], [end, top], [end, bottom], [start, bottom]])
    rungs = max(PIVOTS + 2, math.ceil((end - start) * curvature / RUNG_TURN) + 1)
    u = np.linspace(start, end, rungs)
    sides = [np.column_stack([u, np.full(rungs, v)]) for v in (top, bottom)]
    return np.concatenate([sides[0], sides[1][::-1]])


def wavy_outline(
    frame: Frame, mask: np.ndarray, origin: tuple[int, int], inside: np.ndarray, expand: float
) -> np.ndarray | None:
    """The outline (u, v) of a word that bends in its frame, by pivots; None if there is none.

    Args:
        frame, mask, origin: as in `frame_outline`.
        inside: ``(m, 2)`` (u, v) of the word's border.
        expand: see `word_polygon`.
    """
    low, high = inside.min(axis=0), inside.max(axis=0)
    width, height = (np.ceil(high - low).astype(int) + 1).tolist()
    if max(width, height) >= OPENCV_LIMIT:
        return None
    u, v = low[0] + np.arange(width), low[1] + np.arange(height)
    grid = frame.to_map(np.stack(np.broadcast_arrays(u, v[:, None]), axis=-1)) - origin
    straight = cv2.remap(mask, grid.astype(np.float32), None, cv2.INTER_NEAREST)
    ribbon = trace_ribbon(straight)
    outline = None if ribbon is None else ribbon_outline(ribbon, straight, expand)
    return None if outline is None else outline + low


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
