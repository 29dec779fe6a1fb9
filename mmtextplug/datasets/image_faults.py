"""What is wrong, or worth a look, with the file of an image: found from its header and its end."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

import cv2
from PIL import Image

from mmtextplug.photos import photo_orientation

MISSING = "image file is missing"
EMPTY = "image file is empty"
UNREADABLE = "image file has no header that can be read"
TOO_LARGE = "image has more pixels than Pillow reads"
CUT_OFF = "image file is cut off or damaged"
NOT_OPENCV = "image file cannot be read by OpenCV"
SIZE = "size of the image is not the annotation's"
SIZE_TURNED = "size of the image is the annotation's only after turning it by its EXIF orientation"
SIZE_STORED = "size of the image is the annotation's only before the loader turns it by EXIF"

TURNED = "image has an EXIF orientation, which the annotation does not follow"
OTHER_FORMAT = "image format that not every OpenCV reads"
COLOURS = "colours of the image: "

_MODES = {
    "RGB": "",
    "L": "",
    "1": "",
    "CMYK": "CMYK",
    "YCCK": "CMYK",
    "P": "palette",
    "PA": "palette",
}
IMAGE_NOTES = frozenset(
    {
        *(TURNED, OTHER_FORMAT),
        *(COLOURS + name for name in ("CMYK", "palette", "16 bits", "with transparency", "other")),
    }
)
"""Kinds that are worth a look; all others are errors."""

_FORMATS = {"JPEG", "MPO", "PNG", "BMP", "TIFF", "WEBP", "PPM"}
# Bytes at the end of a file among which its end marker is looked for; cameras append to it.
_TAIL = 4096
_END = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
# EXIF orientations that exchange width and height.
_SIDEWAYS = (5, 6, 7, 8)

Fault = tuple[str, str]
"""Kind, detail."""


@dataclass(frozen=True)
class ImageCheck:
    """An image file.

    Attributes:
        size (tuple[int, int] | None): (height, width) in which the annotation should be: of the
            stored pixels, or of the turned ones if the loader turns. None if it cannot be read.
        faults (list[Fault]): What was found.
    """

    size: tuple[int, int] | None
    faults: list[Fault]


def check_image(
    path: str,
    expected: tuple[int, int] | None = None,
    *,
    upright: bool = False,
    decode: bool = False,
) -> ImageCheck:
    """Look at an image file without decoding it, unless its end is not where it should be.

    Args:
        path (str): The file.
        expected (tuple[int, int], optional): (height, width) as the annotation says.
        upright (bool): Whether the loader turns images by their EXIF orientation.
        decode (bool): Whether to decode it all the same, with Pillow and with OpenCV.
    """
    if not os.path.isfile(path):
        near = suggest(path)
        return ImageCheck(None, [(MISSING, f"did you mean {near}?" if near else "")])
    faults: list[Fault] = []
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about large images and odd EXIF
            if not os.fstat(file.fileno()).st_size:
                return ImageCheck(None, [(EMPTY, "")])
            with Image.open(file) as image:
                stored, orientation = _header(image)
                colours = _colours(image)
                if colours:
                    faults.append((COLOURS + colours, ""))
                if image.format not in _FORMATS:
                    faults.append((OTHER_FORMAT, str(image.format)))
                fault = ""
                if decode or not _has_end(file, image.format):
                    fault = _decoding_fault(image)
                if fault:
                    faults.append((CUT_OFF, fault))
    except Image.DecompressionBombError:
        return ImageCheck(None, [(TOO_LARGE, "shrink it")])
    except Exception as error:  # decoders raise whatever they like on damaged files
        return ImageCheck(None, [(UNREADABLE, type(error).__name__)])
    if decode and not fault and cv2.imread(path) is None:
        faults.append((NOT_OPENCV, ""))
    turned = stored[::-1] if orientation in _SIDEWAYS else stored
    size, other = (turned, stored) if upright else (stored, turned)
    if expected is not None and expected != size:
        shown = f"{size[1]} x {size[0]}, not {expected[1]} x {expected[0]}"
        kind = SIZE if expected != other else SIZE_STORED if upright else SIZE_TURNED
        faults.append((kind, shown))
    elif orientation != 1 and not upright:
        faults.append((TURNED, f"orientation {orientation}"))
    return ImageCheck(size, faults)


def _header(image: Image.Image) -> tuple[tuple[int, int], int]:
    """(height, width) as stored, and EXIF orientation."""
    if image.format == "TIFF":  # the only ones whose size Pillow gives as turned
        return (int(image.tag_v2[257]), int(image.tag_v2[256])), photo_orientation(image)
    # Without this, Pillow would decode a PNG to look for EXIF behind its pixels.
    orientation = photo_orientation(image) if "exif" in image.info else 1
    return (image.height, image.width), orientation


def _colours(image: Image.Image) -> str:
    if image.mode in ("I", "F") or ";16" in image.mode or ";16" in str(image.tile[:1]):
        return "16 bits"  # or 32
    if "A" in image.getbands() or (image.mode != "P" and "transparency" in image.info):
        return "with transparency"
    return _MODES.get(image.mode, "other")


def _has_end(file: BinaryIO, image_format: str | None) -> bool:
    marker = _END.get(image_format or "")
    if marker is None:
        return True
    position = file.tell()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL, 0))
    found = marker in file.read()
    file.seek(position)
    return found


def _decoding_fault(image: Image.Image) -> str:
    try:
        image.load()
    except Exception as error:  # decoders raise whatever they like on damaged files
        return str(error) or type(error).__name__
    return ""


def suggest(path: str) -> str:
    """A file that is there and whose path differs in little: upper and lower case, the form of
    accents, slashes, its suffix; '' if there is none, or several."""
    parts = list(_parts(path.replace("\\", "/")))
    if not parts:
        return ""
    found = parts.pop(0)
    for number, part in enumerate(parts):
        there = os.path.join(found, part)
        if os.path.exists(there):
            found = there
            continue
        names, stems = _listing(found)
        near = names.get(_folded(part))
        if near is None and number == len(parts) - 1:
            near = stems.get(_folded(os.path.splitext(part)[0]))
        if not near:
            return ""
        found = os.path.join(found, near)
    return found if os.path.isfile(found) else ""


def _parts(path: str) -> Iterator[str]:
    absolute = os.path.isabs(path)
    yield os.sep if absolute else "."
    yield from (part for part in path.split("/") if part not in ("", "."))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(maxsize=4)
def _listing(folder: str) -> tuple[dict[str, str], dict[str, str]]:
    """Names of a folder by how they read in lower case, whole and without suffixes; '' where
    several read alike."""
    names: dict[str, str] = {}
    stems: dict[str, str] = {}
    try:
        entries = sorted(os.listdir(folder))
    except OSError:
        entries = []
    for name in entries:
        for table, key in ((names, name), (stems, os.path.splitext(name)[0])):
            key = _folded(key)
            table[key] = "" if key in table else name
    return names, stems
