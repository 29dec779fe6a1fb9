"""Miniature folders in the formats of the owners of sets."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def photo(path: Path, size: tuple[int, int] = (200, 100), mode: str = "RGB") -> Path:
    """A photo of a size (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def text(path: Path, content: str | bytes) -> Path:
    """A file, with line ends as they are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def box(left, top, right, bottom) -> list:
    return [left, top, right, top, right, bottom, left, bottom]


def word(polygon: list, text: str | None = None, ignore: bool = False, chars=None) -> dict:
    """What an instance has to be, written out independently."""
    x, y = polygon[::2], polygon[1::2]
    found = {
        "polygon": polygon,
        "bbox": [min(x), min(y), max(x), max(y)],
        "bbox_label": 0,
        "ignore": ignore,
    }
    if text is not None:
        found["text"] = text
    if chars is not None:
        found["chars"] = chars
    return found


def entry(name: str, *words: dict, size: tuple[int, int] = (200, 100)) -> dict:
    return {"img_path": name, "height": size[1], "width": size[0], "instances": list(words)}


def row(printed: str, title: str) -> list[str]:
    """Numbers, and names if any, in the rows of the tables with this title."""
    lines = [line.strip() for line in printed.splitlines()]
    rows = [line for line in lines if line.startswith(title + "  ")]
    return [" ".join(line.removeprefix(title).split()) for line in rows]


def icdar2015(root: Path, split: str = "train", photos: int = 3) -> Path:
    """Photos img_1.jpg, ... with a word each, in the owners' folders."""
    images, gts = {
        "train": ("ch4_training_images", "ch4_training_localization_transcription_gt"),
        "test": ("ch4_test_images", "Challenge4_Test_Task1_GT"),
    }[split]
    for number in range(1, photos + 1):
        photo(root / images / f"img_{number}.jpg")
        text(root / gts / f"gt_img_{number}.txt", f"\ufeff10,20,60,20,60,40,10,40,w{number}\r\n")
    return root / gts
