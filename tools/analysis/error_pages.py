"""Pages of what two detectors get right and wrong on the same images, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from score_map_cache import read_photo

from mmtextplug.evaluation.hmean import Page, count_page
from mmtextplug.evaluation.overlaps import Predictions, Truth
from mmtextplug.visualization.draw import draw_words
from mmtextplug.visualization.sheet import column, framed, row, titled

RIGHT, WRONG, MISSED, UNJUDGED = (0, 190, 0), (40, 40, 255), (255, 120, 0), (160, 160, 160)
PICTURE_WIDTH = 960


@dataclass(frozen=True)
class Side:
    """One detector's words of an image, judged."""

    predictions: Predictions
    page: Page
    rows: np.ndarray
    cols: np.ndarray

    @property
    def errors(self) -> int:
        """Missed and wrong words."""
        hits, truths, predictions = count_page(self.page)
        return truths + predictions - 2 * hits


def picture(photo: np.ndarray, truth: Truth, side: Side) -> np.ndarray:
    """A photo with the words of one detector."""
    zoom = PICTURE_WIDTH / photo.shape[1]
    drawn = cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    right, found = set(side.cols.tolist()), set(side.rows.tolist())
    groups = {
        UNJUDGED: [
            *(p for p, judged in zip(truth.outlines, side.page.truth_judged) if not judged),
            *(p for p, j in zip(side.predictions.outlines, side.page.pred_judged) if not j),
        ],
        MISSED: [
            p for i, p in enumerate(truth.outlines) if side.page.truth_judged[i] and i not in found
        ],
        WRONG: [
            p
            for i, p in enumerate(side.predictions.outlines)
            if side.page.pred_judged[i] and i not in right
        ],
        RIGHT: [side.predictions.outlines[i] for i in sorted(right)],
    }
    for colour, outlines in groups.items():
        drawn = draw_words(drawn, [zoom * np.asarray(p) for p in outlines], colour)
    return drawn


def draw_pages(pages: Sequence[tuple[str, Truth, tuple[Side, Side], Path]]) -> bytes:
    """A PNG with a row for each image: A's words, B's words.

    Args:
        pages (Sequence[tuple]): Name, annotated words, both sides and photo of each; at least one.

    Raises:
        OSError: If it cannot be encoded.
    """
    rows = []
    for name, truth, sides, path in pages:
        photo = read_photo(path)
        parts = []
        for letter, side in zip("AB", sides):
            hits, truths, predictions = count_page(side.page)
            title = f"{letter}: {name}, {hits} of {truths} words, {predictions - hits} wrong"
            parts.append(titled(title, picture(photo, truth, side)))
        rows.append(row(parts))
    legend = "right words green, wrong ones red, missed ones blue; grey: does not count"
    done, data = cv2.imencode(".png", framed(titled(legend, column(rows))))
    if not done:
        raise OSError("the picture of the differences cannot be encoded")
    return data.tobytes()
