"""Single characters that stand alone: words of one character, with a threshold of their own."""

from __future__ import annotations

from numbers import Real

import numpy as np

from mmtextplug.craft.flood import PROMINENCE, summits


def check_isolated_threshold(isolated_threshold: float | None, text_threshold: float) -> None:
    """A ValueError unless it is None or a number from 0 to ``text_threshold``."""
    if isolated_threshold is None:
        return
    number = isinstance(isolated_threshold, Real)
    if not number or not 0 <= isolated_threshold <= text_threshold:
        raise ValueError(
            f"isolated_threshold={isolated_threshold!r} must be a number from 0 to text_threshold="
            f"{text_threshold}, or None: single characters need no more than words do"
        )


def stands_alone(own: np.ndarray, region: np.ndarray, link: np.ndarray) -> bool:
    """Whether a component of text and link pixels is one character without a neighbour.

    It is if none of its pixels is a link pixel, and its region score above 0 has one summit (see
    `summits`, with `PROMINENCE`): from any other local maximum in it a way leads to a higher one
    without going down by that share.

    Args:
        own, region, link: ``(h, w)`` in the component's bounds: bool, whether a pixel is its own;
            float32, finite; bool.
    """
    if (link & own).any():
        return False
    return bool(summits(region * own, PROMINENCE, 0.0).max(initial=0) == 1)
