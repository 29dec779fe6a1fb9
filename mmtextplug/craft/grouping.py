"""From CRAFT's score maps to words: rotated boxes or polygons, with a score each.

Everything here is NumPy and OpenCV on the CPU. The boxes are those of the published
post-processing; only the way there differs. That one walks the whole map several times for every
component. Here the map is read once into horizontal runs of text pixels, and from then on a word
is a handful of points (`text_rows`, `dilated_outlines`) and the rectangle around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from mmtextplug.craft.isolated import check_isolated_threshold, stands_alone
from mmtextplug.craft.polygon import undo_threshold, word_polygon

MIN_AREA = 10
"""Components of fewer pixels (text and link together) are noise."""

SQUARE_TOLERANCE = 0.1
"""A rectangle whose sides differ by less than this share is drawn upright (the diamond rule)."""


@dataclass(frozen=True)
class Words:
    """Words found on one pair of score maps, in map coordinates (x, y).

    Attributes:
        boxes: ``(N, 4, 2)`` float32, corners clockwise, first the one with the least ``x + y``.
        scores: ``(N,)`` float32 in [0, 1].
        polygons: ``N`` float32 arrays ``(k, 2)``, clockwise, or None when not asked for.
    """

    boxes: np.ndarray
    scores: np.ndarray
    polygons: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Components:
    """Connected components of ``text | link``, background left out.

    Attributes:
        labels: ``(H, W)`` int32; component ``i`` of the arrays below is labelled ``ids[i]``.
        ids: ``(N,)`` int32, ascending.
        bounds: ``(N, 4)`` int64, left, top, width, height.
        area: ``(N,)`` int64, pixels.
    """

    labels: np.ndarray
    ids: np.ndarray
    bounds: np.ndarray
    area: np.ndarray

    def select(self, keep: np.ndarray) -> Components:
        """The components where ``keep`` (bool, or indices) says so; ``labels`` is shared."""
        return Components(self.labels, self.ids[keep], self.bounds[keep], self.area[keep])

    def mask(self, i: int) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels of component ``i`` as uint8 0/1 in its own bounds, and their (left, top)."""
        x, y, w, h = self.bounds[i].tolist()
        return (self.labels[y : y + h, x : x + w] == self.ids[i]).view(np.uint8), (x, y)


@dataclass(frozen=True)
class TextRows:
    """The text pixels of components, row by row: what a rectangle around them depends on.

    Rows are sorted by component, then from top to bottom; a component without text has none.

    Attributes:
        component: ``(R,)`` index of the component a row belongs to.
        y: ``(R,)`` the row.
        left, right: ``(R,)`` x of its first and last text pixel, inclusive.
        peak: ``(R,)`` float32, the largest region score among its text pixels.
    """

    component: np.ndarray
    y: np.ndarray
    left: np.ndarray
    right: np.ndarray
    peak: np.ndarray

    def select(self, keep: np.ndarray) -> TextRows:
        """The rows of the components where ``keep`` (bool, one a component), renumbered."""
        rows = keep[self.component]
        renumbered = (np.cumsum(keep) - 1)[self.component[rows]]
        return TextRows(
            renumbered, self.y[rows], self.left[rows], self.right[rows], self.peak[rows]
        )


def group_words(
    region: Any,
    affinity: Any,
    *,
    text_threshold: float = 0.7,
    link_threshold: float = 0.4,
    low_text: float = 0.4,
    isolated_threshold: float | None = None,
    polygons: bool = False,
) -> Words:
    """Group the pixels of a region and an affinity score map into words.

    Pixels with ``region > low_text`` or ``affinity > link_threshold`` form 4-connected components.
    A component of at least 10 pixels whose region score reaches ``text_threshold`` is a word. Its
    text pixels (``region > low_text``), dilated in proportion to its thickness, are enclosed in
    the rectangle of least area, or in an upright one where that is nearly a square.

    The boxes are those of the published post-processing for any thresholds. Where that fails, on a
    component without any text pixel (possible when ``text_threshold <= low_text``), there is no
    word here.

    The score of a word, for which the published code has nothing, is its highest region score:
    that is what ``text_threshold`` is compared with, so a sweep over scores in an evaluation (the
    hmean metric's) is exactly a sweep over ``text_threshold``, without grouping again.

    Args:
        region: ``(H, W)`` region score, an array or a tensor of any float type on any device.
            NaN and infinities count as 0.
        affinity: ``(H, W)`` affinity score, likewise.
        text_threshold: least peak of the region score in a word.
        link_threshold: affinity above it joins characters.
        low_text: region score above it is text.
        isolated_threshold: in the place of ``text_threshold`` for a single character that stands
            alone (see `mmtextplug.craft.isolated.stands_alone`): without the context of a word
            they score lower. Peaks not above ``low_text`` are no text. None: as ``text_threshold``.
        polygons: also return outlines that follow curved words, see `word_polygon`. A straight
            word has a rectangle closer to it than its box, and one for which no sound outline is
            found the box.

    Returns:
        Words in map coordinates (multiply by the network's stride and the inverse of the resize
        ratio for image coordinates), in raster order of their first pixel.

    Raises:
        ValueError: the maps are not two-dimensional, not real numbers or of different shapes;
            ``isolated_threshold`` is out of its range.

    Source: Baek et al., Character Region Awareness for Text Detection, CVPR 2019, section 3.3, and
    the authors' published post-processing.
    """
    check_isolated_threshold(isolated_threshold, text_threshold)
    region, affinity = as_score_map(region, "region"), as_score_map(affinity, "affinity")
    if region.shape != affinity.shape:
        raise ValueError(
            f"region and affinity must have the same shape, got {region.shape} and "
            f"{affinity.shape}: pass the two maps of one image"
        )
    text, link = region > float(low_text), affinity > float(link_threshold)
    components = find_components(text | link)
    rows = text_rows(region, text, components)
    peaks = component_peaks(rows, len(components.ids))
    is_word = peaks >= max(float(text_threshold), np.finfo(np.float32).min)
    if isolated_threshold is not None:
        for i in np.flatnonzero(~is_word & (peaks >= float(isolated_threshold))):
            own, (x, y) = components.mask(i)
            window = np.s_[y : y + own.shape[0], x : x + own.shape[1]]
            is_word[i] = stands_alone(own.view(bool), region[window], link[window])
    components, rows = components.select(is_word), rows.select(is_word)

    outlines = dilated_outlines(rows, components, region.shape)
    boxes = np.zeros((len(outlines), 4, 2), np.float32)
    for i, points in enumerate(outlines):
        boxes[i] = cv2.boxPoints(cv2.minAreaRect(points))
    square_up(boxes, outlines)
    boxes = order_corners(boxes)
    outlined = None
    if polygons:
        outlined = []
        for i, box in enumerate(boxes):
            own, (x, y) = components.mask(i)
            window = np.s_[y : y + own.shape[0], x : x + own.shape[1]]
            # Links join, but say nothing of a word's height.
            own &= text[window].view(np.uint8)
            expand = undo_threshold(region[window][own.view(bool)], float(low_text))
            outlined.append(word_polygon(own, (x, y), box, expand))
    return Words(boxes, np.clip(peaks[is_word], 0, 1), outlined)


def as_score_map(scores: Any, name: str = "scores") -> np.ndarray:
    """A ``(H, W)`` float32 array of finite values from an array or tensor on any device.

    NaN and infinities become 0. ``name`` is what a ValueError calls the map.
    """
    if hasattr(scores, "detach"):  # a tensor; NumPy knows no bfloat16, hence float() first
        scores = scores.detach().float().cpu().numpy()
    scores = np.asarray(scores)
    if scores.ndim != 2 or scores.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} must be a (H, W) array of real numbers, got shape {scores.shape} of "
            f"{scores.dtype}: pass one channel of one image"
        )
    with np.errstate(over="ignore"):
        scores = np.ascontiguousarray(scores, dtype=np.float32)
    finite = np.isfinite(scores)
    return scores if finite.all() else np.where(finite, scores, np.float32(0))


def find_components(mask: np.ndarray) -> Components:
    """4-connected components of a ``(H, W)`` bool mask that have at least ``MIN_AREA`` pixels."""
    if not mask.size:  # OpenCV refuses an empty image
        none = np.zeros((0, 5), np.int64)
        return Components(np.zeros(mask.shape, np.int32), none[:, 4], none[:, :4], none[:, 4])
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=4)
    stats = stats.astype(np.int64)  # area * side overflows 32 bits on large components
    ids = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] >= MIN_AREA)
    ids = ids[ids > 0]
    return Components(labels, ids, stats[ids, :4], stats[ids, cv2.CC_STAT_AREA])


def text_rows(region: np.ndarray, text: np.ndarray, components: Components) -> TextRows:
    """Collect the text pixels of the components row by row.

    Args:
        region: ``(H, W)`` float32.
        text: ``(H, W)`` bool, text pixels, each of them in a component or in one left out.
        components: the components to collect; others are ignored.
    """
    height, width = text.shape
    # One empty column on either side ends every run of text pixels within its row.
    padded = np.zeros((height, width + 2), np.int8)
    padded[:, 1:-1] = text
    steps = np.flatnonzero(np.diff(padded.reshape(-1)))
    starts, stops = steps[::2], steps[1::2]
    y, left = np.divmod(starts, width + 2)
    right = left + (stops - starts) - 1

    index_of = np.full(components.labels.max(initial=0) + 1, -1)
    index_of[components.ids] = np.arange(len(components.ids))
    component = index_of[components.labels[y, left]]
    if not len(component):
        return TextRows(component, y, left, right, np.zeros(0, np.float32))
    first = np.cumsum(right - left + 1) - (right - left + 1)
    peak = np.maximum.reduceat(region[text], first)

    # Stable, so that the runs of a component stay in raster order; then one entry a row.
    order = np.argsort(component, kind="stable")
    order = order[np.searchsorted(component[order], 0) :]
    component, y, left, right, peak = (v[order] for v in (component, y, left, right, peak))
    new = np.flatnonzero(_changes(component) | _changes(y))
    if not len(new):
        return TextRows(component, y, left, right, peak)
    last = np.append(new[1:], len(y)) - 1
    return TextRows(component[new], y[new], left[new], right[last], np.maximum.reduceat(peak, new))


def component_peaks(rows: TextRows, count: int) -> np.ndarray:
    """Highest region score of each of ``count`` components, float32; -inf where no text is."""
    peaks = np.full(count, -np.inf, np.float32)
    first = np.flatnonzero(_changes(rows.component))
    if len(first):
        peaks[rows.component[first]] = np.maximum.reduceat(rows.peak, first)
    return peaks


def dilated_outlines(
    rows: TextRows, components: Components, size: tuple[int, int]
) -> list[np.ndarray]:
    """Points whose convex hull is that of the component's dilated text pixels.

    The published code dilates a component once by a square of ``1 + n`` pixels,
    ``n = int(2 sqrt(area * min(w, h) / (w * h)))``, within the map. A dilated row of pixels is a
    rectangle, cut off at the map's border, so its four corners stand for it.

    Args:
        rows: the text pixels; every component has some.
        components: as many components.
        size: (H, W) of the map.

    Returns:
        An int32 array ``(k, 2)`` of (x, y) for each component.
    """
    sides = components.bounds[:, 2:]
    thickness = components.area * sides.min(axis=1) / sides.prod(axis=1)
    grow = (np.sqrt(thickness) * 2).astype(np.int64)[rows.component]
    before, after = grow // 2, (grow + 1) // 2  # OpenCV's anchor: an even square leans right
    left = np.maximum(rows.left - before, 0)
    right = np.minimum(rows.right + after, size[1] - 1)
    top, bottom = rows.y - before, rows.y + after

    # A row is no corner of the hull where it does not stick out from the line between its
    # neighbours. Next to the border, where rows are cut off, that line is bent: all rows stay.
    keep = np.ones(len(left), bool)
    middle = slice(1, -1)
    keep[middle] = (
        (2 * left[middle] < left[:-2] + left[2:])
        | (2 * right[middle] > right[:-2] + right[2:])
        | (rows.component[:-2] != rows.component[2:])
        | (rows.y[2:] - rows.y[:-2] != 2)
        | (top[middle] < 1)
        | (bottom[middle] > size[0] - 2)
    )
    left, right = left[keep], right[keep]
    top, bottom = np.maximum(top[keep], 0), np.minimum(bottom[keep], size[0] - 1)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
    points = np.ascontiguousarray(corners.transpose(2, 0, 1)).reshape(-1, 2)
    ends = 4 * np.cumsum(np.bincount(rows.component[keep], minlength=len(components.ids)))
    ends = [0, *ends.tolist()]
    return [points[start:end] for start, end in pairwise(ends)]


def square_up(boxes: np.ndarray, outlines: list[np.ndarray]) -> None:
    """Replace boxes that are nearly square by the upright extent of their outlines, in place."""
    sides = boxes[:, 1:3].astype(np.float64) - boxes[:, :2]
    lengths = np.sqrt((sides**2).sum(axis=2))
    ratio = lengths.max(axis=1) / (lengths.min(axis=1) + 1e-5)
    for i in np.flatnonzero(np.abs(1 - ratio) <= SQUARE_TOLERANCE):
        left, top = outlines[i].min(axis=0)
        right, bottom = outlines[i].max(axis=0)
        boxes[i] = [[left, top], [right, top], [right, bottom], [left, bottom]]


def order_corners(boxes: np.ndarray) -> np.ndarray:
    """Turn each of ``(N, 4, 2)`` clockwise boxes so that the least ``x + y`` comes first."""
    first = boxes.sum(axis=2).argmin(axis=1)
    order = (first[:, None] + np.arange(4)) % 4
    return np.take_along_axis(boxes, order[:, :, None], axis=1)


def _changes(values: np.ndarray) -> np.ndarray:
    """Where a value differs from the one before it; the first always does."""
    changes = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=changes[1:])
    return changes
