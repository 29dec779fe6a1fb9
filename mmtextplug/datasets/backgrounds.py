"""Backgrounds for generated text: plain, gradient, procedural texture, or crops of photos."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def pick(rng: np.random.Generator, weighted: dict[str, float]) -> str:
    """One of the names, by weight; weights need not add up to 1."""
    left = rng.random() * sum(weighted.values())
    for name, weight in weighted.items():
        left -= weight
        if left < 0:
            return name
    return next(reversed(weighted))  # rounding


def random_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour as float32 ``(3,)`` in [0, 255]; greys are as frequent as in the streets."""
    if rng.random() < 0.3:
        return np.full(3, rng.uniform(0, 255), np.float32)
    return rng.uniform(0, 255, 3).astype(np.float32)


def near_colour(rng: np.random.Generator, colour: np.ndarray, reach: float) -> np.ndarray:
    """A colour at most ``reach`` away in each channel."""
    return np.clip(colour + rng.uniform(-reach, reach, 3), 0, 255).astype(np.float32)


def mix(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Blend two colours by an ``(H, W)`` weight in [0, 1] into ``(H, W, 3)`` uint8."""
    table = np.linspace(first, second, 256).clip(0, 255).astype(np.uint8)
    index = (weight * 255).clip(0, 255).astype(np.uint8)
    return cv2.LUT(cv2.merge([index] * 3), table[None])


def ramp(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A linear or radial ramp from 0 to 1, ``(H, W)`` float32."""
    y = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, size[1], dtype=np.float32)[None]
    if rng.random() < 0.3:
        cx, cy = rng.uniform(-1, 1, 2).astype(np.float32)
        value = np.sqrt((x - cx) ** 2 + (y - cy) ** 2)
    else:
        angle = rng.uniform(0, 2 * np.pi)
        value = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
    low, high = value.min(), value.max()
    return (value - low) / max(high - low, np.float32(1e-6))


def cloud(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Smooth noise at several scales in [0, 1], ``(H, W)`` float32."""
    total = np.zeros(size, np.float32)
    weight, cells = 1.0, int(rng.integers(2, 7))
    fade = rng.uniform(0.3, 0.75)
    while cells < min(size) and weight > 0.05:
        grid = rng.random((cells, cells), dtype=np.float32)
        total += np.float32(weight) * cv2.resize(
            grid, (size[1], size[0]), interpolation=cv2.INTER_LINEAR
        )
        weight, cells = weight * fade, cells * 3
    low, high = total.min(), total.max()
    return (total - low) / max(high - low, np.float32(1e-6))


def grain(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """White noise of triangular distribution in [-1, 1], float32; random bytes are cheap."""
    count = int(np.prod(size))
    noise = np.frombuffer(rng.bytes(2 * count), np.uint8).reshape(2, *size)
    return (noise[0].astype(np.float32) + noise[1] - 255) / 255


def _waves(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Stripes or checks in [0, 1]: waves across one or two directions, soft or hard."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 40)
    y = np.arange(size[0], dtype=np.float32)[:, None]
    x = np.arange(size[1], dtype=np.float32)[None]
    across = np.float32(2 * np.pi / period)
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    wave = np.sin((x * c + y * s) * across)
    if rng.random() < 0.5:
        wave = wave * np.sin((y * c - x * s) * across)
    hardness = np.float32(rng.choice([1.0, 8.0]))
    return np.clip(wave * hardness, -1, 1) * np.float32(0.5) + np.float32(0.5)


def plain(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """One colour."""
    return np.broadcast_to(random_colour(rng).astype(np.uint8), (*size, 3)).copy()


def gradient(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Two colours and all between them."""
    return mix(random_colour(rng), random_colour(rng), ramp(rng, size))


def texture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Clouds, stripes, checks, blobs or grain around one colour, lit unevenly."""
    base = random_colour(rng)
    reach = rng.choice([20.0, 50.0, 90.0], p=[0.4, 0.4, 0.2])
    other = near_colour(rng, base, reach)
    kind = rng.random()
    if kind < 0.45:
        weight = cloud(rng, size)
    elif kind < 0.7:
        weight = _waves(rng, size)
        other = near_colour(rng, base, min(reach, 50.0))
    elif kind < 0.85:
        weight = np.clip((cloud(rng, size) - np.float32(0.5)) * 12 + np.float32(0.5), 0, 1)
    else:
        weight = (grain(rng, size) + 1) / 2
        if rng.random() < 0.5:
            weight = cv2.blur(weight, (int(rng.integers(1, 12)), int(rng.integers(1, 4))))
    if rng.random() < 0.3:
        weight = (weight + ramp(rng, size)) / 2
    return mix(base, other, weight)


@lru_cache(maxsize=64)
def _load_photo(path: str, longest: int) -> np.ndarray | None:
    """A photo as BGR uint8, shrunk to a longest side; ``None`` when it cannot be read."""
    try:
        image = cv2.imread(path, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        warnings.warn(f"{path} is not a readable image; another photo is used", stacklevel=2)
        return None
    shrink = longest / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return image


def find_photos(folder: str | Path) -> tuple[str, ...]:
    """Paths of the images in a folder and its subfolders, sorted.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"background_dir: {folder} is not a folder")
    paths = tuple(str(p) for p in sorted(folder.rglob("*")) if p.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise ValueError(
            f"background_dir: no image ({' '.join(PHOTO_SUFFIXES)}) in {folder}; "
            "give a folder of photos without text"
        )
    return paths


def photo(rng: np.random.Generator, size: tuple[int, int], paths: tuple[str, ...]) -> np.ndarray:
    """A random crop of a random photo, mirrored half the time.

    Raises:
        ValueError: none of the photos can be read.
    """
    first = int(rng.integers(len(paths)))
    for i in range(len(paths)):
        image = _load_photo(paths[(first + i) % len(paths)], 3 * max(size))
        if image is not None:
            break
    else:
        raise ValueError(
            f"background_dir: none of {len(paths)} images can be read ({paths[0]} ...)"
        )
    fit = min(image.shape[0] / size[0], image.shape[1] / size[1])
    share = fit * rng.uniform(0.5, 1.0)
    h, w = (max(1, int(side * share)) for side in size)
    y = int(rng.integers(image.shape[0] - h + 1))
    x = int(rng.integers(image.shape[1] - w + 1))
    mode = cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR
    crop = cv2.resize(image[y : y + h, x : x + w], (size[1], size[0]), interpolation=mode)
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


BACKGROUNDS = {"plain": plain, "gradient": gradient, "texture": texture}
