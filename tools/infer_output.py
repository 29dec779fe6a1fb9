"""What `infer.py` writes of a photo: JSON and pictures."""

from __future__ import annotations

import errno
import json
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mmtextplug.files import write_atomically
from mmtextplug.inference import Detection
from mmtextplug.inference.detector import as_detection
from mmtextplug.visualization.draw import draw_chars, draw_words
from mmtextplug.visualization.scene import Scene
from mmtextplug.visualization.score_maps import draw_scene

MAX_JPEG_SIDE = 65_500

NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""Errors of the folder for output; others are a photo's own, such as a name that is too long."""


@dataclass
class Job:
    """A photo on its way through."""

    path: Path
    name: str
    image: np.ndarray | None = None
    orientation: int = 1
    done: bool = False
    words: int = 0
    fault: str = ""

    def skip(self, fault: str) -> None:
        """Give it up, and let go of it."""
        self.fault, self.image = fault, None


def finish(job: Job, sample: Future, out: Path, score_maps: bool, precision: str) -> None:
    """Write what is found on a photo, and let go of it.

    Args:
        job (Job): Done afterwards, or skipped where it is its own fault that it cannot be written.
        sample (Future): The data sample of `TextDetector.start`.
        out (Path), score_maps (bool), precision (str): See `write_results`.

    Raises:
        OSError: If nothing can be written to the folder: see `NO_OUTPUT`.
    """
    found = as_detection(sample.result())
    try:
        write_results(job, found, out, score_maps, precision)
    except OSError as error:
        if error.errno in NO_OUTPUT:
            raise
        job.skip(f"{job.path}: {error}")
    else:
        job.image, job.words, job.done = None, len(found.polygons), True


def write_results(job: Job, found: Detection, out: Path, score_maps: bool, precision: str) -> None:
    """Write JSON and pictures of a photo below a folder.

    Args:
        job (Job), found (Detection): The photo, and what is found on it.
        out (Path): The folder.
        score_maps (bool): Whether to draw the score maps, too.
        precision (str): What the network computed in, by which words differ a little.
    """
    stem = out / job.name
    stem.parent.mkdir(parents=True, exist_ok=True)
    picture = job.image
    if found.chars is not None:
        picture = draw_chars(picture, found.chars)
    picture = draw_words(picture, found.polygons)
    ending = ".jpg" if max(picture.shape) <= MAX_JPEG_SIDE else ".png"
    write_picture(stem.with_name(stem.name + ending), picture)
    if score_maps:
        # As ScoreMapVisualizer draws them.
        kinds, maps = zip(*found.score_maps.items())
        scene = Scene(predicted=np.stack(maps), kinds=kinds)
        write_picture(stem.with_name(f"{stem.name}_scores.jpg"), draw_scene(job.image, scene))
    # Last: where the JSON is, the photo is done.
    text = json.dumps(as_json(job, found, precision), ensure_ascii=False)
    write_atomically(stem.with_name(f"{stem.name}.json"), text.encode(errors="backslashreplace"))


def as_json(job: Job, found: Detection, precision: str) -> dict:
    """What is found on a photo, in pixels of the upright photo."""
    words = [
        {"polygon": _rounded(polygon), "score": round(float(score), 4)}
        for polygon, score in zip(found.polygons, found.scores, strict=True)
    ]
    if found.chars is not None:
        for word, chars in zip(words, found.chars, strict=True):
            word["chars"], word["char_count"] = _rounded(chars), len(chars)
    return {
        "image": str(job.path),
        "width": job.image.shape[1],
        "height": job.image.shape[0],
        "exif_orientation": job.orientation,
        "precision": precision,
        "coordinates": "pixels (x, y) of the upright photo, its EXIF orientation applied",
        "words": words,
    }


def _rounded(points: np.ndarray) -> list:
    return np.round(points.astype(np.float64), 2).tolist()


def write_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture, encoded by its ending; an OSError if it cannot be."""
    done, data = cv2.imencode(path.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise OSError(f"{path}: cannot be encoded")
    write_atomically(path, data.tobytes())
