"""Annotations with characters, from what the dataset read to what transforms work on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from mmtextplug.datasets.annotations import Word, read_word


@TRANSFORMS.register_module()
class LoadCharAnnotations(BaseTransform):
    """Brings words and their characters into the form of MMOCR's transforms, plus ``gt_chars``.

    Words of no use (see `mmtextplug.datasets.annotations.read_word`) are left out. It takes the
    place of MMOCR's ``LoadOCRAnnotations`` and reads the same files.

    A sample without ``instances`` stays as it is: MMOCR's inferencers run test pipelines on images
    that nobody annotated.

    Optional key: ``instances``. Added keys: ``gt_polygons`` (list of W flat float32 arrays),
    ``gt_bboxes`` (W, 4) float32, ``gt_bboxes_labels`` (W,) int64, ``gt_ignored`` (W,) bool,
    ``gt_texts`` (list of str or None), ``gt_chars`` (list of (n, 4, 2) float32 arrays, or None for
    words whose characters are unknown), ``gt_char_confidence`` (W,) float32, how far the
    characters are to be believed: 1.

    Args:
        with_chars (bool): False leaves the characters out, as if the data had words only.
    """

    def __init__(self, with_chars: bool = True) -> None:
        self.with_chars = with_chars

    def transform(self, results: dict) -> dict:
        if "instances" not in results:
            return results
        size = results.get("ori_shape")
        words = [word for word, _ in (read_word(i, size) for i in results["instances"]) if word]
        if not self.with_chars:
            words = [replace(word, chars=None) for word in words]
        return set_words(results, words)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(with_chars={self.with_chars})"


def set_words(results: dict, words: list[Word]) -> dict:
    """Write words under the keys of ``LoadCharAnnotations``, and return the same dict."""
    corners = [(w.polygon.min(0), w.polygon.max(0)) for w in words]
    results["gt_polygons"] = [np.ascontiguousarray(w.polygon).reshape(-1) for w in words]
    results["gt_bboxes"] = np.array([np.concatenate(c) for c in corners], np.float32).reshape(-1, 4)
    results["gt_bboxes_labels"] = np.zeros(len(words), dtype=np.int64)
    results["gt_ignored"] = np.array([w.ignored for w in words], dtype=bool)
    results["gt_texts"] = [w.text for w in words]
    results["gt_chars"] = [w.chars for w in words]
    results["gt_char_confidence"] = np.array([w.confidence for w in words], dtype=np.float32)
    return results


def get_words(results: dict) -> list[Word]:
    """Read back what `set_words` wrote; without ``gt_char_confidence`` every confidence is 1.

    Raises:
        ValueError: If the keys hold different numbers of words.
    """
    keys = ("gt_polygons", "gt_texts", "gt_ignored", "gt_chars")
    confidence = results.get("gt_char_confidence", np.ones(len(results["gt_chars"])))
    columns = {**{key: results[key] for key in keys}, "gt_char_confidence": confidence}
    lengths = {key: len(column) for key, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{results.get('img_path', 'sample')}: lengths differ: {lengths}")
    return [
        Word(np.reshape(polygon, (-1, 2)), text, bool(ignored), chars, float(value))
        for polygon, text, ignored, chars, value in zip(*columns.values())
    ]
