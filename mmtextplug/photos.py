"""Photos found in folders, and read from any file that Pillow reads: upright and in 8 bits."""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2"),
}
"""What counts as a photo in a folder; a file that is named itself is always tried."""

EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.FLIP_LEFT_RIGHT,
    3: Image.ROTATE_180,
    4: Image.FLIP_TOP_BOTTOM,
    5: Image.TRANSPOSE,
    6: Image.ROTATE_270,
    7: Image.TRANSVERSE,
    8: Image.ROTATE_90,
}
# Drawn by programs of their own, that Pillow would start.
_PROGRAMS = ("EPS", "WMF")
_LIMIT = threading.Lock()
# What shows through where a picture is transparent: dark and light text both stand out from it.
_BEHIND = (128, 128, 128)


def find_photos(
    arguments: Sequence[Path], out: Path, *, recursive: bool = False, endings: Sequence[str] = ()
) -> list[tuple[Path, str]]:
    """The photos behind some paths, each once, with a name for its results that no other has.

    Args:
        arguments (Sequence[Path]): Files, and folders to search.
        out (Path): The folder of the results; it is not searched.
        recursive (bool): Whether folders are searched to the bottom.
        endings (Sequence[str]): What follows the names of pictures that will be written.

    Returns:
        list[tuple[Path, str]]: Paths, and names with slashes for subfolders. A folder that cannot
        be looked into is among them: `read_photo` says why.

    Raises:
        ValueError: If results would be written among or over the photos, or there is no photo.
    """
    target = _real(out)
    found: dict[Path, tuple[Path, str]] = {}
    taken: set[str] = set()
    for argument in arguments:
        if not argument.is_dir():
            _add(found, taken, argument, Path(argument.stem))
            continue
        folder = _real(argument)
        if folder == target:
            raise ValueError(f"--out {out}: photos are read from there; name another folder")
        # Results of an earlier run are no photos.
        inside = target if folder in target.parents else None
        for path in _look_into(argument, recursive):
            if inside is None or inside not in _real(path).parents:
                named = path.relative_to(argument) if path != argument else Path(folder.name)
                _add(found, taken, path, named.with_suffix(""))
    if not found:
        raise ValueError(
            f"no photos in {', '.join(map(str, arguments))}"
            + ("" if recursive else " (--recursive looks into subfolders)")
        )
    for _, name in found.values():
        for ending in endings:
            if (target / (name + ending)) in found:
                raise ValueError(
                    f"--out {out}: {name}{ending} is one of the photos there; name another folder"
                )
    return list(found.values())


def _look_into(folder: Path, recursive: bool) -> list[Path]:
    """What counts as a photo in a folder, and folders that cannot be looked into."""
    found: list[Path] = []

    def locked(error: OSError) -> None:
        found.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=locked):
        photos = [name for name in names if Path(name).suffix.lower() in SUFFIXES]
        found.extend(Path(parent, name) for name in photos)
        if not recursive:
            folders.clear()
    return sorted(found)


def _add(found: dict[Path, tuple[Path, str]], taken: set[str], path: Path, name: Path) -> None:
    if _real(path) in found:
        return
    number, base = 1, name.as_posix()
    unique = base
    # Some file systems take a.jpg and A.JPG for one.
    while taken & (names := {unique.casefold(), f"{unique}_scores".casefold()}):
        number += 1
        unique = f"{base}_{number}"
    taken |= names
    found[_real(path)] = (path, unique)


def _real(path: Path) -> Path:
    # Path.resolve refuses links that lead to themselves.
    return Path(os.path.realpath(path))


def read_header(path: Path) -> tuple[int, int, str]:
    """Size and kind of a photo from its header, not turned by its EXIF orientation.

    Benchmarks drew their truth on photos as they are stored.

    Returns:
        tuple[int, int, str]: Height and width in pixels, and what sets it apart from what every
        loader reads: 'CMYK', 'GIF', or ''.

    Raises:
        ValueError: If it has no header that Pillow can read.
    """
    try:
        with Image.open(path) as image:
            kind = next((k for k in ("CMYK", "GIF") if k in (image.mode, image.format)), "")
            if image.format == "TIFF":  # the only ones whose size Pillow gives as turned
                return int(image.tag_v2[257]), int(image.tag_v2[256]), kind
            return image.height, image.width, kind
    except UnidentifiedImageError:
        raise ValueError("is no image that Pillow can read") from None
    except Exception as error:  # decoders raise whatever they like on damaged files
        raise ValueError(f"is damaged or cannot be opened ({type(error).__name__})") from None


def _opened(path: Path) -> Image.Image:
    """A photo whose size is still to be judged: Pillow's own limit is that of all programs here."""
    with _LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def read_photo(path: str | Path, max_pixels: int = 250_000_000) -> tuple[np.ndarray, int]:
    """Read a photo of any kind, turned upright by its EXIF orientation.

    Of several frames or pages the first is taken, and the log says so; 16-bit grey values are
    scaled to 8 bits, floating-point ones stretched; transparent pixels show a medium grey.

    Args:
        path (str | Path): A file that Pillow can read.
        max_pixels (int): Larger photos are refused before they are decoded.

    Returns:
        tuple[np.ndarray, int]: ``(H, W, 3)`` uint8 BGR, and the EXIF orientation that it had (1 to
        8, 1 is upright).

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it is, or is in, a folder that must not be looked into.
        ValueError: If it is too large, damaged, not to be read or no image.
    """
    path = Path(path)
    if path.is_dir():
        os.scandir(path).close()
        raise ValueError(f"{path}: a folder, not a photo")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        if not path.stat().st_size:
            raise ValueError("the file is empty")
        with _opened(path) as image:
            if image.format in _PROGRAMS:
                raise UnidentifiedImageError
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(
                    f"{width} x {height} pixels are more than {max_pixels}: shrink it, or raise "
                    "--max-pixels (max_pixels) if there is memory for it"
                )
            if has_more_frames(image):
                print_log(
                    f"{path}: of several frames or pages only the first is read",
                    logger="current",
                    level=logging.WARNING,
                )
            # Pillow turns TIFF files upright while it decodes them, and forgets what they said.
            tiff = image.format == "TIFF"
            orientation = photo_orientation(image) if tiff else 1
            image.load()
            if tiff:
                return _to_bgr(image), orientation
            orientation = photo_orientation(image)
            turn = _UPRIGHT.get(orientation)
            return _to_bgr(image if turn is None else image.transpose(turn)), orientation
    except UnidentifiedImageError:
        reason = "not an image that Pillow can read: convert it to PNG or JPEG"
    except PermissionError:
        reason = "no permission to read it"
    except MemoryError:
        reason = "not enough memory to decode it: shrink it"
    except ValueError as error:
        reason = str(error)
    except Exception as error:  # decoders raise whatever they like on damaged files
        reason = f"damaged, cut off or not to be opened ({str(error) or type(error).__name__})"
    raise ValueError(f"{path}: {reason}")


def has_more_frames(image: Image.Image) -> bool:
    """Whether an opened image is an animation or has pages, of which only the first is read.

    A phone's JPEG may carry a second picture, of depths or as a thumbnail: it has not.
    """
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # damaged after the first frame
        return True


def photo_orientation(image: Image.Image) -> int:
    """EXIF orientation of an opened image, 1 to 8; 1 also where EXIF is absent or damaged."""
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        return 1
    return orientation if orientation in _UPRIGHT else 1


def _to_bgr(image: Image.Image) -> np.ndarray:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = _to_8_bits(np.asarray(image))
        return cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*_BEHIND, 255))
        image = Image.alpha_composite(ground, image)
    if image.mode != "RGB":  # it would be copied all the same
        image = image.convert("RGB")
    return cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)


def _to_8_bits(grey: np.ndarray) -> np.ndarray:
    if grey.dtype.kind == "f":
        grey = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = grey.min(), grey.max()
    elif grey.dtype == np.uint16:
        low, high = 0, 65535
    else:  # 32 bits, but as a rule they hold 8 or 16
        low, high = 0, next((top for top in (255, 65535) if grey.max() <= top), grey.max())
    scaled = (grey.astype(np.float32) - low) * (255 / max(high - low, 1e-12))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
