"""Predictions of a checkpoint on annotated photos, as a file that can be read again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from score_map_cache import read_photo
from tqdm import tqdm

from mmtextplug.files import write_atomically
from mmtextplug.inference import TextDetector


def predict(detector: TextDetector, photos: dict[str, Path], out: Path) -> None:
    """Run a detector over photos and write what it finds, in the form of annotations.

    Photos are read as they are stored, not turned by their EXIF orientation, as benchmarks
    annotate them.

    Args:
        detector (TextDetector): Prepares photos as its config tests it.
        photos (dict[str, Path]): The photos by the names that the file gives them.
        out (Path): JSON with a ``polygon`` and a ``score`` an instance; written at the end.

    Raises:
        ValueError: If a photo cannot be read.
    """
    entries = []
    for name, path in tqdm(photos.items(), out.stem, unit="photo", file=sys.stderr):
        photo = read_photo(path)
        (found,) = detector.detect([photo])
        words = [
            {"polygon": np.round(np.float64(polygon).ravel(), 2).tolist(), "score": float(score)}
            for polygon, score in zip(found.polygons, found.scores)
        ]
        size = {"height": photo.shape[0], "width": photo.shape[1]}
        entries.append({"img_path": name, **size, "instances": words})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps({"metainfo": {}, "data_list": entries}).encode())
