"""How far rates of a data set are to be believed: the bootstrap over its images."""

from __future__ import annotations

import numpy as np

# Images times resamplings that are looked at at once: bounds memory to some hundred megabytes.
_CHUNK = 20_000_000


def resample_counts(counts: np.ndarray, samples: int = 2000, seed: int = 0) -> np.ndarray:
    """Counts of data sets drawn from the images of one, with replacement.

    Words of an image are hard or easy together, so that images are drawn, not words. Several
    detectors judged on the same images are drawn the same images: their differences are paired.

    Args:
        counts (np.ndarray): ``(I, ..., C)`` counts of I images, as of `count_page`.
        samples (int): S, how many data sets to draw.
        seed (int): Of the draw.

    Returns:
        np.ndarray: ``(S, ..., C)`` float64, sums over the images drawn.

    Raises:
        ValueError: If there are no images, or nothing is to be drawn.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 6.
    """
    images = len(counts)
    if not images or samples < 1:
        raise ValueError(f"nothing to resample: {images} images, {samples} samples")
    rng = np.random.default_rng(seed)
    flat = np.asarray(counts, dtype=np.float64).reshape(images, -1)
    step = max(1, _CHUNK // images)
    drawn = [
        # How often each image is drawn.
        rng.multinomial(images, np.full(images, 1 / images), size=min(step, samples - start)) @ flat
        for start in range(0, samples, step)
    ]
    return np.concatenate(drawn).reshape(samples, *np.shape(counts)[1:])


def rates_of(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and hmean of many counts at once; what is divided by nothing is 0.

    Args:
        counts (np.ndarray): ``(..., 3)``: hits, annotated and predicted words.

    Returns:
        np.ndarray: ``(..., 3)`` float64 in [0, 1].
    """
    hits, truths, predictions = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    precision = _share(hits, predictions)
    recall = _share(hits, truths)
    return np.stack([precision, recall, _share(2 * hits, truths + predictions)], axis=-1)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The middle ``level`` of values along the first axis (percentile interval); ``(2, ...)``."""
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
