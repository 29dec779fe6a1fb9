"""Text with character boxes, from a JSON file in MMOCR's format."""

from __future__ import annotations

import json
import logging
import os
import struct
import zlib
from collections import Counter
from pathlib import Path
from typing import ClassVar

import cv2
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from PIL import Image

from mmtextplug.datasets.annotations import read_word

# At most so many lines about single files; the rest is counted.
_EXAMPLES = 5

# What PIL's decoders raise for broken files; a bad PNG chunk is a SyntaxError.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    EOFError,
    struct.error,
    zlib.error,
)


class TextImagesDataset(BaseDataset):
    """What datasets of text images have in common: image files that cannot be read stop nothing.

    While training they are replaced by others, counted and reported; in test mode, where every
    image counts, they raise an error that names them.

    Args:
        **kwargs: See ``mmengine.dataset.BaseDataset``.
    """

    METAINFO: ClassVar[dict] = dict(
        dataset_type="TextDetDataset", task_name="textdet", category=[dict(id=0, name="text")]
    )

    def __init__(self, *args, **kwargs) -> None:
        # Shared with the data workers, so that their counts add up.
        self.unreadable = torch.zeros((), dtype=torch.long).share_memory_()
        # Each is reported once by each worker.
        self._reported: set[str] = set()
        super().__init__(*args, **kwargs)

    def __getitem__(self, idx: int) -> dict:
        """Sample ``idx`` after the pipeline; while training another one where it is of no use.

        Raises:
            ValueError: If ``max_refetch`` others are of no use either; in test mode, if the image
                cannot be read.
        """
        self.full_init()
        if self.test_mode:
            return super().__getitem__(idx)
        for _ in range(self.max_refetch + 1):
            data = self.prepare_data(idx)
            if data is not None:
                return data
            idx = self._rand_another()
        raise ValueError(
            f"{self.ann_file}: no usable sample in {self.max_refetch + 1} tries: "
            f"{len(self._reported)} of {len(self)} image files cannot be read "
            f"({int(self.unreadable)} skipped so far). Check data_root, data_prefix and the files."
        )

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline on a sample; None, after a report, if its image cannot be read.

        Raises:
            ValueError: In test mode, where every image counts.
        """
        try:
            return super().prepare_data(idx)
        except (*_DECODE_ERRORS, AssertionError, cv2.error) as error:
            path = self.get_data_info(idx)["img_path"]
            # Loaders assert that OpenCV gave something; other errors are not about the file.
            # OpenCV's answer alone would not do: it gives the first part of a JPEG that is cut off.
            fault = self._image_fault(path)
            if not fault and cv2.imread(path) is not None:
                raise
            fault = fault or "image file cannot be read by OpenCV"
            if self.test_mode:
                raise ValueError(f"{path}: {fault}. Replace or remove it.") from error
        self.unreadable += 1
        if path not in self._reported:
            self._reported.add(path)
            print_log(
                f"{path}: skipped, {fault}; {int(self.unreadable)} skipped so far",
                logger="current",
                level=logging.WARNING,
            )
        return None

    @staticmethod
    def _image_fault(path: str) -> str:
        if not os.path.isfile(path):
            return "image file is missing"
        try:
            with Image.open(path) as image:
                # Headers of files that are cut off are whole; only decoding finds the end missing.
                image.load()
        except Image.DecompressionBombError:
            limit = 2 * Image.MAX_IMAGE_PIXELS
            return f"image has more than {limit} pixels, the limit of PIL.Image.MAX_IMAGE_PIXELS"
        except _DECODE_ERRORS:
            return "image file cannot be read"
        return ""


@DATASETS.register_module()
class CharTextDataset(TextImagesDataset):
    """Images with words and, where known, their characters.

    The annotation file is MMOCR's: ``metainfo`` and ``data_list``, each entry with ``img_path``,
    ``height``, ``width`` and ``instances`` (``polygon`` or ``bbox``, ``ignore``, ``text``), plus
    one optional field an instance: ``chars``, a list of quads of 8 numbers in reading order.

    Everything that can be wrong with the file is looked for when it is loaded, counted by kind and
    reported with examples; faulty words are left out, which ``left_out`` of a sample counts, faulty
    characters become unknown. Images
    that cannot be read later, while training, are replaced by others, counted and reported.

    Args:
        ann_file (str): The JSON file, relative to ``data_root``.
        check_images (bool, optional): Whether to decode each image while loading and to leave out
            those missing, unreadable or cut off. Default: in test mode, where no other image can
            take the place of a bad one.
        **kwargs: See ``mmengine.dataset.BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such annotation file.
        ValueError: If it is no such JSON, or holds no usable image; while training, if no image
            can be read.
    """

    def __init__(self, *args, check_images: bool | None = None, **kwargs) -> None:
        self.check_images = kwargs.get("test_mode", False) if check_images is None else check_images
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read and check the annotation file."""
        entries = self._read_json()
        faults: Counter[str] = Counter()
        data_list = []
        for number, entry in enumerate(entries):
            fault = self._entry_fault(entry)
            if fault:
                self._report(faults, fault, f"data_list[{number}]")
                continue
            data = self.parse_data_info(dict(entry))
            fault = self._image_fault(data["img_path"]) if self.check_images else ""
            if fault:
                self._report(faults, fault, data["img_path"])
                continue
            size = (entry.get("height"), entry.get("width"))
            size = size if all(isinstance(side, (int, float)) for side in size) else None
            instances = []
            for index, instance in enumerate(entry["instances"]):
                word, fault = read_word(instance, size)
                if fault:
                    where = f"{data['img_path']}, instances[{index}]"
                    self._report(faults, fault, where)
                if word is not None:
                    instances.append(instance)
            data["instances"] = instances
            data["left_out"] = len(entry["instances"]) - len(instances)
            data_list.append(data)
        if faults:
            summary = ", ".join(f"{count} x {fault}" for fault, count in faults.most_common())
            print_log(
                f"{self.ann_file}: {sum(faults.values())} faults left out: {summary}",
                logger="current",
                level=logging.WARNING,
            )
        if not data_list:
            raise ValueError(
                f"{self.ann_file}: no usable image in it"
                + (f" ({faults.most_common(1)[0][0]})" if faults else " (data_list is empty)")
            )
        return data_list

    def _read_json(self) -> list[dict]:
        try:
            content = json.loads(Path(self.ann_file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.ann_file}: no such annotation file. Check ann_file and data_root."
            ) from None
        except (ValueError, OSError) as error:
            raise ValueError(f"{self.ann_file}: cannot be read as JSON: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("data_list"), list):
            raise ValueError(
                f"{self.ann_file}: field 'data_list' is missing: a dict of metainfo and data_list "
                "is expected, as MMOCR writes it."
            )
        metainfo = content.get("metainfo")
        for key, value in metainfo.items() if isinstance(metainfo, dict) else ():
            self._metainfo.setdefault(key, value)
        return content["data_list"]

    @staticmethod
    def _entry_fault(entry: object) -> str:
        if not isinstance(entry, dict) or not isinstance(entry.get("img_path"), str):
            return "entry without 'img_path'"
        if not isinstance(entry.get("instances"), list):
            return "entry without a list 'instances'"
        return "" if all(isinstance(i, dict) for i in entry["instances"]) else "instance is no dict"

    def _report(self, faults: Counter[str], fault: str, where: str) -> None:
        faults[fault] += 1
        if faults[fault] <= _EXAMPLES:
            print_log(f"{self.ann_file}: {where}: {fault}", logger="current", level=logging.WARNING)
