"""From DBNet's score map to words: rotated boxes or polygons, with a score each.

Everything here is NumPy, OpenCV and Shapely on the CPU. Outlines and scores are those of MMOCR's
``DBPostprocessor``. The offset that gives a shrunken outline its word back is exact: a formula for
boxes (`offset_rectangles`), Shapely for polygons (`offset_polygons`), Clipper and its whole
numbers for neither.

Where MMOCR's result is wrong, it is not copied:

* There the holes of a component become words too. Here they do not; what lies within a hole does.
* There candidates beyond the limit (and one more) are cut off in the order of the scan, so that
  noise at one end of a page starves the other. Here the best by score stay.
* There polygons have no least size, and a word whose offset closes a gap is dropped, or is its
  first ring, as the number of points has it. Here sizes are checked alike for both, and a polygon
  is the outer ring of its offset.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import shapely

from mmtextplug.compiled import compiled
from mmtextplug.craft.grouping import Words, as_score_map, order_corners
from mmtextplug.db.outlines import Outlines, component_outlines, outline_scores

ARC_TOLERANCE = 0.25
"""An offset polygon strays from round joints by at most so many map pixels."""


@dataclass(frozen=True)
class WordRules:
    """What makes a component of text pixels a word. Lengths are in map pixels.

    Attributes:
        min_text_score: Least mean probability within the outline.
        min_text_width: Least shorter side of the rectangle around the offset outline.
        unclip_ratio: The outline is offset outward by its area times this over its perimeter.
        epsilon_ratio: The outline strays from the pixels' contour by at most this share of the
            contour's perimeter.
        max_candidates: So many words at most, the best by score.
        margin: The outline is first grown by so much. It runs through the middle of the pixels on
            the border of a component, half a pixel inside of it.

    Raises:
        ValueError: A rule is negative or not a number.
    """

    min_text_score: float = 0.3
    min_text_width: float = 5.0
    unclip_ratio: float = 1.5
    epsilon_ratio: float = 0.01
    max_candidates: int = 3000
    margin: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (isinstance(value, (int, float)) and 0 <= value < math.inf):
                raise ValueError(f"{name} must be a finite number of at least 0, got {value!r}")


def find_words(
    prob: Any,
    threshold: Any = 0.3,
    rules: WordRules | None = None,
    *,
    polygons: bool = False,
) -> Words:
    """Words of one score map, by the rules of differentiable binarization.

    Pixels above the threshold form 8-connected components. The outer contour of each, simplified,
    is grown by the margin and offset outward by ``D' = A' * unclip_ratio / L'`` with A' and L' its
    area and perimeter.
    A contour that simplifies to fewer than four points, or to an outline without area, is none.

    Args:
        prob: ``(H, W)`` probability, an array or a tensor of any float type on any device. NaN and
            infinities count as 0.
        threshold: A number; or a ``(H, W)`` map such as DBNet's own, so that text is where the
            approximate binary map exceeds 1/2. Where the map is not finite, there is no text.
        rules: See `WordRules`.
        polygons: Also return outlines that follow curved words.

    Returns:
        Words in map coordinates, sorted by score from high to low, equal ones from top to bottom,
        then from left to right. Neither boxes nor polygons end at the border of the map.

    Raises:
        ValueError: A map is not two-dimensional, not of real numbers, or the two differ in shape.

    Source: Liao et al., Real-Time Scene Text Detection with Differentiable Binarization,
    AAAI 2020, section "Deployment", eq. 10; simplification and score as in MMOCR.
    """
    rules = rules or WordRules()
    prob = as_score_map(prob, "prob")
    outlines = component_outlines(
        text_mask(prob, threshold),
        epsilon_ratio=rules.epsilon_ratio,
        unclip_ratio=rules.unclip_ratio,
        min_width=rules.min_text_width,
        margin=rules.margin,
    )
    distance, boxes, width = offset_rectangles(outlines, rules.unclip_ratio, rules.margin)
    wide = np.flatnonzero((width >= rules.min_text_width) & (width > 0))
    scores = outline_scores(prob, outlines.take(wide))
    low = outlines.low[wide]
    order = np.lexsort((low[:, 0], low[:, 1], -scores))
    order = order[scores[order] >= rules.min_text_score][: int(rules.max_candidates)]
    best = wide[order]
    rings = offset_polygons(outlines.take(best), distance[best]) if polygons else None
    return Words(order_corners(boxes[best]), scores[order].astype(np.float32), rings)


def text_mask(prob: np.ndarray, threshold: Any) -> np.ndarray:
    """``(H, W)`` uint8 0/1, where the probability exceeds a number or a map of thresholds."""
    if np.ndim(threshold) == 0:
        return (prob > float(threshold)).view(np.uint8)
    if hasattr(threshold, "detach"):
        threshold = threshold.detach().float().cpu().numpy()
    above = as_score_map(threshold, "threshold")
    if above.shape != prob.shape:
        raise ValueError(
            f"prob and threshold must have the same shape, got {prob.shape} and {above.shape}: "
            "pass the two maps of one image"
        )
    return ((prob > above) & np.isfinite(threshold)).view(np.uint8)


def offset_rectangles(
    outlines: Outlines, ratio: float, margin: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rectangles of least area around outlines offset outward, without offsetting them.

    The offset by D with round joints is the Minkowski sum with a disc of radius D, and support
    functions add under Minkowski sums: in every direction the offset outline is 2 D wider than
    the outline. An enclosing rectangle with sides w and h becomes one with w + 2 D and h + 2 D,
    about the same centre. Between two directions in which a side lies along an edge of the convex
    hull, the rectangle touches the same four corners, w and h are arcs of a cosine, w + 2 D and
    h + 2 D are positive and concave, hence log-concave, and so is their product: it is least at
    one of the two. So the hull's edges are all the directions there are to try.

    Args:
        outlines: The outlines; ``D = A * ratio / L`` by the area and perimeter of each, once it is
            grown by the margin (which adds ``L m + pi m^2`` and ``2 pi m``), and the margin on top.
        ratio, margin: At least 0.

    Returns:
        tuple: ``(N,)`` float64 D, 0 where an outline has no area; ``(N, 4, 2)`` float32 corners,
        clockwise; ``(N,)`` float64 length of the shorter side, 0 where an outline has no area.
    """
    return compiled(_rectangles)(
        outlines.points.astype(np.int64), outlines.starts, float(ratio), float(margin)
    )


def _rectangles(points, starts, ratio, margin):  # pragma: no cover
    count = len(starts) - 1
    distances = np.zeros(count)
    boxes = np.zeros((count, 4, 2), np.float32)
    widths = np.zeros(count)
    for n in range(count):
        first, last = starts[n], starts[n + 1]
        area2, perimeter = 0, 0.0
        leftmost = first
        x0, y0 = points[first]
        before = last - 1
        for i in range(first, last):
            ax, ay = points[before, 0] - x0, points[before, 1] - y0
            bx, by = points[i, 0] - x0, points[i, 1] - y0
            area2 += ax * by - ay * bx
            perimeter += math.hypot(bx - ax, by - ay)
            before = i
            if points[i, 0] < points[leftmost, 0] or (
                points[i, 0] == points[leftmost, 0] and points[i, 1] < points[leftmost, 1]
            ):
                leftmost = i
        if area2 == 0:
            continue
        area = 0.5 * abs(area2) + margin * perimeter + math.pi * margin * margin
        distance = area / (perimeter + 2 * math.pi * margin) * ratio + margin
        distances[n] = distance

        # Round the hull (Jarvis): from each corner to the one that has all others on one side.
        least = np.inf
        here = leftmost
        while True:
            x0, y0 = points[here]
            ex, ey = 0, 0
            there = here
            for i in range(first, last):
                dx, dy = points[i, 0] - x0, points[i, 1] - y0
                side = ex * dy - ey * dx
                further = dx * dx + dy * dy > ex * ex + ey * ey
                if side < 0 or (side == 0 and further):
                    ex, ey, there = dx, dy, i
            length = math.hypot(ex, ey)
            ux, uy = ex / length, ey / length
            back, ahead, across = 0.0, 0.0, 0.0
            for i in range(first, last):
                dx, dy = points[i, 0] - x0, points[i, 1] - y0
                along = ux * dx + uy * dy
                back, ahead = min(back, along), max(ahead, along)
                across = max(across, ux * dy - uy * dx)
            long, high = ahead - back + 2 * distance, across + 2 * distance
            if long * high < least:
                least = long * high
                widths[n] = min(long, high)
                for c in range(4):
                    u = ahead + distance if c in (1, 2) else back - distance
                    v = across + distance if c >= 2 else -distance
                    boxes[n, c, 0] = x0 + ux * u - uy * v
                    boxes[n, c, 1] = y0 + uy * u + ux * v
            here = there
            if points[here, 0] == points[leftmost, 0] and points[here, 1] == points[leftmost, 1]:
                break
    return distances, boxes, widths


def offset_polygons(outlines: Outlines, distance: np.ndarray) -> list[np.ndarray]:
    """Outer rings of outlines offset outward with round joints.

    An outline that crosses or touches itself (by a spike, for one) is offset as a line: connected,
    it makes one shape, and no part of it is lost. For all others that gives the same outer ring,
    but takes twice as long and more. Rings within, where the offset closes a gap, do not belong to
    a word.

    Args:
        outlines: The outlines, without a point twice in a row.
        distance: ``(N,)``, in pixels. An outline offset by less than 0.001 stays as it is.

    Returns:
        list: Float32 arrays ``(k, 2)``, clockwise, the first point not repeated, within
        `ARC_TOLERANCE` of the exact offset (and 0.01 D: GEOS smooths dents).
    """
    rings = shapely.linearrings(outlines.points.astype(np.float64), indices=outlines.index)
    shapes = shapely.polygons(rings)
    crossed = np.flatnonzero(~shapely.is_valid(shapes))
    shapes[crossed] = outline_lines(outlines.take(crossed))
    # GEOS rounds the number of chords of an arc: one spans up to 1.5 n-th parts of a quarter, and
    # lies D (1 - cos a) <= D a^2 / 2 inside the arc, with a = 1.5 pi / 4n. One call takes one n:
    # they are powers of two.
    parts = 1.5 * np.pi / 4 * np.sqrt(distance / (2 * ARC_TOLERANCE))
    powers = np.ceil(np.log2(np.clip(parts, 1, 256))).astype(int)
    powers[distance < 1e-3] = -1
    for power in np.unique(powers[powers >= 0]):
        group = np.flatnonzero(powers == power)
        grown = shapely.buffer(shapes[group], distance[group], quad_segs=2**power)
        rings[group] = shapely.get_exterior_ring(grown)
    turned = np.flatnonzero(~shapely.is_ccw(rings))  # clockwise is with y pointing down
    rings[turned] = shapely.reverse(rings[turned])
    points, index = shapely.get_coordinates(rings, return_index=True)
    ends = np.cumsum(np.bincount(index, minlength=len(outlines))).tolist()
    points = points.astype(np.float32)
    return [points[start : end - 1] for start, end in pairwise([0, *ends])]


def outline_lines(outlines: Outlines) -> np.ndarray:
    """``(N,)`` multi-lines: all but the last edge of each outline, and the last edge by itself.

    GEOS offsets a closed line as a ring, and may leave parts of one that crosses itself bare.
    """
    points = outlines.points.astype(np.float64)
    open_lines = shapely.linestrings(points, indices=outlines.index)
    last, first = points[outlines.starts[1:] - 1], points[outlines.starts[:-1]]
    closing = shapely.linestrings(np.stack([last, first], axis=1))
    both = np.stack([open_lines, closing], axis=1).ravel()
    return shapely.multilinestrings(both, indices=np.repeat(np.arange(len(outlines)), 2))
