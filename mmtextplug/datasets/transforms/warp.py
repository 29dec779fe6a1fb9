"""Geometric transforms that know characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import shapely
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.registry import TRANSFORMS

from mmtextplug.datasets.annotations import Word
from mmtextplug.datasets.transforms.loading import get_words, set_words


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points ``(..., 2)`` by a homography ``(3, 3)``; float32."""
    flat = np.asarray(points, dtype=np.float64).reshape(-1, 2)
    mapped = np.c_[flat, np.ones(len(flat))] @ matrix.T
    return (mapped[:, :2] / mapped[:, 2:]).reshape(points.shape).astype(np.float32)


@TRANSFORMS.register_module()
class RandomTextWarp(BaseTransform):
    """Scale, rotation, perspective and crop as one homography, applied once.

    The image is interpolated once; words and characters are mapped exactly and stay whole where
    the crop cuts them. Words that fall outside are dropped; words that get too small to read are
    ignored. Where the crop reaches beyond the image, ``valid_polygon`` tells what is image, and
    nothing else is trained.

    Required keys: ``img`` and those of ``LoadCharAnnotations``; all are updated, and ``img_shape``,
    ``scale_factor``. Added key: ``valid_polygon`` (K, 2) float32, if there is any border.

    Args:
        size (int | tuple[int, int]): Output (width, height), or both in one.
        scale (tuple[float, float]): Range of magnifications, drawn log-uniformly; 1 fits the
            shorter side of the image to the shorter side of the output.
        rotation (float): Greatest angle either way, in degrees.
        perspective (float): Greatest shift of each output corner, as a part of the output's sides.
        text_ratio (float): How often the crop is centred on a word; otherwise anywhere.
        min_height (float): Words less high than this in the output, in pixels, are ignored.
        border (int | Sequence[int]): Colour outside of the image.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (1.0, 3.0),
        rotation: float = 10.0,
        perspective: float = 0.05,
        text_ratio: float = 0.7,
        min_height: float = 4.0,
        border: int | Sequence[int] = (104, 116, 124),
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if min(self.size) < 1 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"RandomTextWarp: size={size}, scale={scale}: must be positive ranges")
        self.scale, self.rotation, self.perspective = scale, rotation, perspective
        self.text_ratio, self.min_height = text_ratio, min_height
        self.border = (border,) * 3 if isinstance(border, int) else tuple(border)

    @cache_randomness
    def _random_matrix(self, shape: tuple[int, int], words: list[Word]) -> np.ndarray:
        """Homography ``(3, 3)`` from the input to the output."""
        (width, height), (out_w, out_h) = (shape[1], shape[0]), self.size
        factor = math.exp(np.random.uniform(*np.log(self.scale)))
        factor *= min(out_w, out_h) / min(width, height)
        angle = math.radians(np.random.uniform(-self.rotation, self.rotation))
        cos, sin = factor * math.cos(angle), factor * math.sin(angle)
        x, y = self._random_centre((width, height), factor, words)
        middle_x, middle_y = (out_w - 1) / 2, (out_h - 1) / 2
        similarity = np.array(
            [
                [cos, -sin, middle_x - cos * x + sin * y],
                [sin, cos, middle_y - sin * x - cos * y],
                [0, 0, 1],
            ]
        )
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [out_w, out_h]
        shifts = np.random.uniform(-self.perspective, self.perspective, (4, 2)) * [out_w, out_h]
        tilt = cv2.getPerspectiveTransform(
            corners.astype(np.float32), (corners + shifts).astype(np.float32)
        )
        return tilt @ similarity

    def _random_centre(
        self, shape: tuple[int, int], factor: float, words: list[Word]
    ) -> tuple[float, float]:
        """The input point that goes to the middle of the output."""
        readable = [word for word in words if not word.ignored]
        if readable and np.random.random() < self.text_ratio:
            polygon = readable[np.random.randint(len(readable))].polygon
            # Not always the middle of the word: anywhere in it.
            return tuple(np.random.dirichlet(np.ones(len(polygon))) @ polygon)
        centre = []
        for side, out in zip(shape, self.size):
            # A crop that fits in stays inside; a larger one slides as far as the image fits in.
            spare = (side - out / factor) / 2
            centre.append((side - 1) / 2 + np.random.uniform(-abs(spare), abs(spare)))
        return tuple(centre)

    def transform(self, results: dict) -> dict:
        words = get_words(results)
        matrix = self._random_matrix(results["img"].shape[:2], words)
        return warp_sample(results, words, matrix, self.size, self.border, self.min_height)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, scale={self.scale}, "
            f"rotation={self.rotation}, perspective={self.perspective}, "
            f"text_ratio={self.text_ratio}, min_height={self.min_height}, border={self.border})"
        )


def warp_sample(
    results: dict,
    words: list[Word],
    matrix: np.ndarray,
    size: tuple[int, int],
    border: Sequence[int],
    min_height: float = 0.0,
) -> dict:
    """Apply a homography to the image and the words of a sample.

    Args:
        results (dict): Updated in place and returned.
        words (list[Word]): In pixels of ``results['img']``.
        matrix (np.ndarray): ``(3, 3)``, input to output pixels.
        size (tuple[int, int]): Output (width, height).
        border (Sequence[int]): Colour outside of the image.
        min_height (float): See `RandomTextWarp`.
    """
    valid = _visible_part(matrix, results["img"].shape[:2], size)
    factor = _magnification(matrix, size)
    results["img"] = _warp_image(results["img"], matrix, size, border, factor)
    results["img_shape"] = size[::-1]
    results["scale_factor"] = (factor, factor)
    if valid is not None:
        results["valid_polygon"] = valid
    warped = (_warp_word(word, matrix, size, min_height) for word in words)
    return set_words(results, [word for word in warped if word is not None])


def _visible_part(
    matrix: np.ndarray, shape: tuple[int, int], size: tuple[int, int]
) -> np.ndarray | None:
    """Where the output shows the image, ``(K, 2)``, without area if nowhere; None if everywhere."""
    frame = np.array([[0, 0], [size[0], 0], [size[0], size[1]], [0, size[1]]], np.float32) - 0.5
    # Cut in pixels of the input: the image may reach behind the horizon, what is in view does not.
    seen = project(np.linalg.inv(matrix), frame)
    area = shapely.box(-0.5, -0.5, shape[1] - 0.5, shape[0] - 0.5)
    if area.buffer(1e-3).covers(shapely.Polygon(seen)):
        return None
    part = area.intersection(shapely.Polygon(seen))
    if part.area < 1e-6:
        return frame * 0
    return project(matrix, np.array(part.exterior.coords)[:-1])


def _magnification(matrix: np.ndarray, size: tuple[int, int]) -> float:
    """Output pixels for an input pixel, along one side, in the middle of the output."""
    inverse = np.linalg.inv(matrix)
    weight = inverse[2] @ [(size[0] - 1) / 2, (size[1] - 1) / 2, 1]
    return math.sqrt(abs(weight**3 / np.linalg.det(inverse)))


def _warp_image(
    image: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    border: Sequence[int],
    factor: float,
) -> np.ndarray:
    # Bilinear sampling skips pixels when it shrinks by more than two; averaging whole blocks
    # first keeps thin strokes.
    step = int(1 / max(factor, 1e-6))
    if step > 1 and min(image.shape[:2]) >= 2 * step:
        height, width = image.shape[:2]
        image = cv2.resize(image, (width // step, height // step), interpolation=cv2.INTER_AREA)
        sx, sy = width / image.shape[1], height / image.shape[0]
        matrix = matrix @ np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])
    return cv2.warpPerspective(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderValue=tuple(border)
    )


def _warp_word(
    word: Word, matrix: np.ndarray, size: tuple[int, int], min_height: float
) -> Word | None:
    depth = np.c_[word.polygon, np.ones(len(word.polygon))] @ matrix[2]
    if depth.min() <= 1e-6:
        return None  # behind the horizon of the perspective
    polygon = project(matrix, word.polygon)
    if (polygon.max(0) < 0).any() or (polygon.min(0) > np.array(size) - 1).any():
        return None
    too_small = min(cv2.minAreaRect(polygon)[1]) < min_height
    chars = None if word.chars is None else project(matrix, word.chars)
    return replace(word, polygon=polygon, ignored=word.ignored or too_small, chars=chars)


@TRANSFORMS.register_module()
class ResizeLongSide(BaseTransform):
    """Resize for inference as the official code does, and pad with black below and right.

    The longer side becomes ``magnification`` times itself, but at most ``long_side``. Padding comes
    before normalisation, so that the padded image is the same as the official one; ``img_shape``
    tells the part that is image.

    Required key: ``img``. Updated keys: ``img``, ``img_shape``, ``scale_factor``. Words, if loaded,
    stay in pixels of the original image: metrics compare there.

    Args:
        long_side (int): Greatest length of the longer side, in pixels.
        magnification (float): How far small images are enlarged.
        divisor (int): Both sides are padded to a multiple of this.
    """

    def __init__(
        self, long_side: int = 1280, magnification: float = 1.5, divisor: int = 32
    ) -> None:
        self.long_side, self.magnification, self.divisor = long_side, magnification, divisor

    def transform(self, results: dict) -> dict:
        image = results["img"]
        height, width = image.shape[:2]
        longest = max(height, width)
        ratio = min(self.magnification * longest, self.long_side) / longest
        new = (max(int(width * ratio), 1), max(int(height * ratio), 1))
        if new != (width, height):
            image = cv2.resize(image, new, interpolation=cv2.INTER_LINEAR)
        right, below = -new[0] % self.divisor, -new[1] % self.divisor
        results["img"] = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        results["img_shape"] = new[::-1]
        results["scale_factor"] = (new[0] / width, new[1] / height)
        return results

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(long_side={self.long_side}, "
            f"magnification={self.magnification}, divisor={self.divisor})"
        )
