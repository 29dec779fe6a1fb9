"""Ink on a picture: legible colours, outlines, shadows, plates, and the camera's faults."""

from __future__ import annotations

import cv2
import numpy as np

from .backgrounds import grain, near_colour, pick, ramp, random_colour
from .word_shapes import LineShape, draw_glyphs

MIN_CONTRAST = 80.0  # between the luminance of a text and of what is behind it, of 255
_BUSY = 28.0  # standard deviation of a background's luminance that calls for a plate or an outline
_LUMA = np.array([0.114, 0.587, 0.299], np.float32)  # BGR
_TREATMENTS = {"none": 0.66, "plate": 0.12, "outline": 0.08, "shadow": 0.14}
_ROOM = 6  # pixels around a line that outline and shadow may need


def luminance(colour: np.ndarray) -> np.ndarray:
    """BT.601 luminance of BGR values along the last axis."""
    return np.asarray(colour, np.float32) @ _LUMA


def legible_colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """A colour whose luminance differs by at least :data:`MIN_CONTRAST` from a BGR colour's."""
    target = luminance(behind)
    for _ in range(6):
        colour = random_colour(rng)
        if abs(luminance(colour) - target) >= MIN_CONTRAST:
            return colour
    extreme = np.full(3, 0.0 if target > 127 else 255.0, np.float32)
    return near_colour(rng, extreme, 40.0)


def _blend(part: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> None:
    weight = coverage.astype(np.float32) * np.float32(1 / 255)
    solid = np.empty_like(part)
    solid[:] = colour.astype(np.uint8)
    part[:] = cv2.blendLinear(part, solid, 1 - weight, weight)


def paint_line(
    image: np.ndarray,
    line: LineShape,
    outline: tuple[np.ndarray, tuple[int, int]],
    rng: np.random.Generator,
    *,
    effects: bool,
) -> None:
    """Draw a line of words on the image, in place.

    Args:
        image: ``(H, W, 3)`` BGR uint8.
        line: what to draw, within the image.
        outline: the line's own ground, ``(mask (h, w) uint8 0/255, (x, y) of its first pixel)``;
            plates stay within it.
        rng: source of chance.
        effects: whether to draw plates, outlines and shadows.
    """
    bounds = line.bounds()
    x0, y0 = np.maximum(np.floor(bounds[:2]).astype(int) - _ROOM, 0)
    x1, y1 = np.minimum(np.ceil(bounds[2:]).astype(int) + _ROOM + 1, image.shape[1::-1])
    part = image[y0:y1, x0:x1]
    coverage = draw_glyphs(line.inks, line.matrices, (int(x0), int(y0)), part.shape[:2])

    mask, (mx, my) = outline
    ground = image[my : my + mask.shape[0], mx : mx + mask.shape[1]]
    behind, deviation = (v[:, 0] for v in cv2.meanStdDev(ground, mask=mask))
    treatment = "none"
    if effects:
        if luminance(deviation) > _BUSY:
            treatment = "plate" if rng.random() < 0.5 else "outline"
        else:
            treatment = pick(rng, _TREATMENTS)
    if treatment == "plate":
        behind = random_colour(rng)
        soft = cv2.blur(mask, (3, 3)) if rng.random() < 0.7 else mask
        _blend(ground, soft, behind)
    colour = legible_colour(rng, behind)
    if treatment == "outline":
        width = 3 if rng.random() < 0.7 else 5
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        _blend(part, cv2.dilate(coverage, kernel), legible_colour(rng, colour))
    elif treatment == "shadow":
        dx, dy = rng.integers(-3, 4, 2)
        moved = cv2.warpAffine(
            coverage, np.array([[1, 0, dx], [0, 1, dy]], float), part.shape[1::-1]
        )
        dark = np.full(3, 0.0 if luminance(colour) > 127 else 255.0, np.float32)
        _blend(part, (cv2.blur(moved, (3, 3)) * np.float32(0.7)).astype(np.uint8), dark)
    strength = rng.uniform(0.85, 1.0) if effects else 1.0
    _blend(part, coverage * np.float32(strength), colour)


def photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Uneven light, blur, noise and JPEG, each in some pictures, mild enough to read on.

    Args:
        image: ``(H, W, 3)`` BGR uint8.
        rng: source of chance.

    Returns:
        A new image of the same shape and type.
    """
    size = image.shape[:2]
    if rng.random() < 0.15:
        light = rng.uniform(0.55, 0.8) + rng.uniform(0.2, 0.4) * ramp(rng, size)
        image = np.clip(image * light[..., None].astype(np.float32), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))
    if rng.random() < 0.4:
        shape = image.shape if rng.random() < 0.5 else (*size, 1)
        noise = grain(rng, shape) * np.float32(rng.uniform(5, 30))
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(40, 96))
        image = cv2.imdecode(
            cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
        )
    return image
