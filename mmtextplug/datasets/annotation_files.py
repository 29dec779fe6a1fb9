"""Where annotations are: files and folders as they are named, datasets as configs name them.

Files are read a few images at a time, so that their size does not matter; COCO's alone, whose
annotations stand apart from their images, are read whole, as all their readers do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from mmtextplug.datasets.coco_words import CocoImage, Fault, coco_images
from mmtextplug.datasets.json_stream import Element, read_members
from mmtextplug.datasets.synthtext import SynthTextIndex
from mmtextplug.datasets.synthtext_index import MANIFEST

BATCH = 64
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")

NO_METAINFO = "field 'metainfo' is missing or no object: MMOCR's OCRDataset refuses the file"


@dataclass(frozen=True)
class Source:
    """A dataset.

    Attributes:
        path (Path): A JSON file, or the folder of an index of SynthText.
        images (str): The folder that the paths of images are relative to.
        where (tuple[str, ...]): The fields of a config that name it; none if it was named itself.
        indices (object): Which images a config takes, as in ``mmengine.dataset.BaseDataset``.
        upright (bool): Whether its loader turns images by their EXIF orientation.
        needed (tuple[str, ...] | None): Fields of words without which its loader fails; None if
            that is not known.
        strict (bool): Whether ``metainfo`` is needed.
    """

    path: Path
    images: str
    where: tuple[str, ...] = ()
    indices: object = None
    upright: bool = False
    needed: tuple[str, ...] | None = None
    strict: bool = True

    @property
    def is_index(self) -> bool:
        return self.path.is_dir()

    @property
    def splits(self) -> set[str]:
        return {place.split("_dataloader")[0] for place in self.where}


class Skipped(NamedTuple):
    """A dataset of a config that has nothing to validate, and why."""

    where: str
    reason: str


class Batch(NamedTuple):
    """Some images.

    Attributes:
        images (list): ``(number, Element | CocoImage | None)``, None for images of an index.
        faults (list[Fault]): What belongs to no image.
        share (float): How much of the dataset has been read with it, 0 to 1.
    """

    images: list[tuple[int, Element | CocoImage | None]]
    faults: list[Fault]
    share: float


def named_source(path: Path, images: Path | None) -> Source:
    """The dataset in a file, or in a folder that is an index of SynthText.

    Args:
        path (Path): The file or folder.
        images (Path, optional): Folder of the images; by default the one that an index remembers,
            else that which holds ``path``.

    Raises:
        FileNotFoundError: If one of them is not there.
        ValueError: If the folder is no such index.
    """
    if path.name == MANIFEST and path.is_file() and (path.parent / "starts.npy").exists():
        path = path.parent
    if path.is_dir() and not (path / MANIFEST).is_file():
        raise ValueError(
            f"{path}: a folder without {MANIFEST}; name a JSON file, a config (.py), "
            "or an index by tools/datasets/synthtext_index.py"
        )
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file")
    if images is not None and not images.is_dir():
        raise FileNotFoundError(f"--images {images}: no such folder")
    folder = images or _own_images(path) or path.resolve().parent
    return Source(path, os.fspath(folder), needed=() if path.is_dir() else None)


def config_sources(cfg: Config) -> tuple[list[Source], list[Skipped]]:
    """The datasets of the train, val and test dataloaders of a config, each once.

    Args:
        cfg (Config): From `mmtextplug.launch.load_config`.

    Raises:
        ValueError: If it has no dataset.
        FileNotFoundError: If annotation files are missing: all of them.
    """
    sources: dict[tuple, Source] = {}
    skipped, missing, found = [], [], False
    for name in LOADERS:
        for where, settings, pipeline in _leaves(cfg.get(name), name):
            found = True
            source = _source(where, settings, pipeline)
            if isinstance(source, Skipped):
                skipped.append(source)
            elif not source.path.exists():
                field = "index" if "index" in settings else "ann_file"
                missing.append(f"{where}.{field} {os.fspath(source.path)!r}")
            else:
                key = (source.path, source.images, repr(source.indices), source.needed)
                key += (source.upright, source.strict)
                places = (*sources[key].where, where) if key in sources else (where,)
                sources[key] = replace(source, where=places)
    if missing:
        raise FileNotFoundError(
            f"{cfg.filename}: annotation file is missing: {', '.join(missing)}. Set data_root and "
            "ann_file (--cfg-options), or make it: tools/datasets has converters"
        )
    if not found:
        raise ValueError(f"{cfg.filename}: no dataset in {', '.join(LOADERS)}")
    return list(sources.values()), skipped


def _leaves(
    settings: object, where: str, pipeline: Sequence = ()
) -> Iterator[tuple[str, dict, Sequence]]:
    """Datasets without wrappers, and the pipelines that their images go through."""
    if isinstance(settings, (list, tuple)):
        for number, item in enumerate(settings):
            yield from _leaves(item, f"{where}[{number}]", pipeline)
    if not isinstance(settings, dict):
        return
    inner = [name for name in ("dataset", "datasets") if name in settings]
    pipeline = [*(settings.get("pipeline") or ()), *pipeline]
    for name in inner:
        yield from _leaves(settings[name], f"{where}.{name}", pipeline)
    if not inner and "type" in settings:
        yield where, settings, pipeline


def _source(where: str, settings: dict, pipeline: Sequence) -> Source | Skipped:
    kind = str(settings["type"]).rpartition(".")[2]
    file = settings.get("index") or settings.get("ann_file")
    if not file:
        reason = "no annotation file: " + ("generated" if "Generated" in kind else f"a {kind}")
        return Skipped(where, reason)
    root = settings.get("data_root") or ""
    path = os.path.join(root, file)
    if "://" in path:
        return Skipped(where, f"{path} is not on this machine")
    if "index" not in settings and Path(path).suffix.lower() != ".json":
        return Skipped(where, f"{path} is no JSON: a {kind}")
    prefixes = settings.get("data_prefix") or {}
    prefix = next((prefixes[key] for key in ("img_path", "img") if key in prefixes), "")
    images = None if prefixes else _own_images(Path(path))
    upright, needed = False, ()
    for step in pipeline:
        step_type = str(step.get("type")) if isinstance(step, dict) else ""
        if step_type.endswith("LoadImageFromFile"):
            upright = step.get("color_type", "color") in ("color", "grayscale")
        if step_type.endswith("LoadOCRAnnotations"):
            needed = _needed(step)
    return Source(
        Path(path),
        images or os.path.join(root, prefix),
        (where,),
        indices=settings.get("indices"),
        upright=upright,
        needed=needed,
        strict=kind not in ("CharTextDataset", "SynthTextDataset"),
    )


def _own_images(path: Path) -> str | None:
    """The folder of images that an index remembers; None of one that has none, and of a file."""
    try:
        return SynthTextIndex(path).images if (path / MANIFEST).is_file() else None
    except (ValueError, OSError):  # whoever reads its entries says what is wrong
        return None


def _needed(step: dict) -> tuple[str, ...]:
    polygon, box = step.get("with_polygon"), step.get("with_bbox")
    fields = {"polygon": polygon, "bbox": box, "bbox_label": step.get("with_label")}
    fields |= {"ignore": polygon or box, "text": step.get("with_text")}
    return tuple(name for name, read in fields.items() if read)


def read_batches(source: Source) -> Iterator[Batch]:
    """The images that a dataset takes, in order.

    Raises:
        ValueError: If the file is no such JSON, or a damaged index; what comes before is given.
        OSError: If it cannot be read.
    """
    reader = _Reader(source)
    images = _select(reader.images(), source)
    more = True
    while more:
        batch, error = _take(images)
        if batch or reader.faults:
            yield Batch(batch, reader.faults, reader.share)
            reader.faults = []
        if error is not None:
            raise error
        more = len(batch) == BATCH


def _take(images: Iterator[tuple]) -> tuple[list[tuple], ValueError | OSError | None]:
    """Some images; fewer than `BATCH` at the end, or before the error that ends them."""
    batch: list[tuple] = []
    try:
        for image in islice(images, BATCH):
            batch.append(image)
    except (ValueError, OSError) as error:
        return batch, error
    return batch, None


@lru_cache(maxsize=2)
def open_index(folder: str) -> SynthTextIndex:
    """An index of SynthText, opened once by each process."""
    return SynthTextIndex(folder)


class _Reader:
    """Reads all images of a file or index; ``faults`` and ``share`` as in `Batch`, so far."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.share = 0.0

    def images(self) -> Iterator[tuple[int, Element | CocoImage | None]]:
        if not self.source.is_index:
            return self._json()
        open_index.cache_clear()  # of what was there before
        count = len(open_index(os.fspath(self.source.path)))
        return self._counted([None] * count)

    def _counted(self, images: Sequence) -> Iterator[tuple]:
        for number, image in enumerate(images):
            self.share = (number + 1) / len(images)
            yield number, image

    def _json(self) -> Iterator[tuple[int, Element | CocoImage]]:
        size = max(self.source.path.stat().st_size, 1)

        def progress(count: int) -> None:
            self.share = min(self.share + count / size, 1.0)

        others: dict[str, object] = {}
        number = None
        for key, value in read_members(self.source.path, "data_list", progress):
            if key != "data_list":
                others[key] = value
            elif value is None and number is None:
                number = 0
            elif isinstance(value, Element):
                yield number, value
                number += 1
            else:
                raise ValueError("field 'data_list' is no list, or is there twice")
        if number is None:
            yield from self._coco(others)
            return
        if self.source.strict and not isinstance(others.get("metainfo"), dict):
            self.faults.append(("metainfo", NO_METAINFO, ""))
        if not number:
            raise ValueError("field 'data_list' is empty")

    def _coco(self, content: dict) -> Iterator[tuple[int, CocoImage]]:
        if "images" not in content and "annotations" not in content:
            raise ValueError(
                "neither field 'data_list', as in MMOCR's files, nor 'images' and 'annotations', "
                f"as in COCO's (it has {', '.join(sorted(content)) or 'none'})"
            )
        faults, images = coco_images(content)
        self.faults += faults
        if not images:
            raise ValueError("field 'images' is empty")
        yield from self._counted(images)


def _select(images: Iterator[tuple], source: Source) -> Iterator[tuple]:
    indices = source.indices
    if indices is None:
        return images
    if isinstance(indices, int):
        if indices >= 0:
            return islice(images, indices)
        indices = range(indices, 0)
    wanted = set(indices)
    if min(wanted, default=0) < 0:
        # Counted from the end, which has to be found first.
        count = sum(len(batch.images) for batch in read_batches(replace(source, indices=None)))
        wanted = {index % count for index in wanted if -count <= index < count}
    return (image for image in images if image[0] in wanted)
