"""Text with character boxes, from a JSON file in MMOCR's format."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from pathlib import Path
from typing import ClassVar

import cv2
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from PIL import Image, UnidentifiedImageError

from mmtextplug.datasets.annotations import read_word

# At most so many lines about single files; the rest is counted.
_EXAMPLES = 5


@DATASETS.register_module()
class CharTextDataset(BaseDataset):
    """Images with words and, where known, their characters.

    The annotation file is MMOCR's: ``metainfo`` and ``data_list``, each entry with ``img_path``,
    ``height``, ``width`` and ``instances`` (``polygon`` or ``bbox``, ``ignore``, ``text``), plus
    one optional field an instance: ``chars``, a list of quads of 8 numbers in reading order.

    Everything that can be wrong with the file is looked for when it is loaded, counted by kind and
    reported with examples; faulty words are left out, faulty characters become unknown. Images
    that cannot be read later, while training, are replaced by others, counted and reported.

    Args:
        ann_file (str): The JSON file, relative to ``data_root``.
        check_images (bool, optional): Whether to open each image's header while loading and to
            leave out those missing or unreadable. Default: in test mode, where no other image can
            take the place of a bad one.
        **kwargs: See ``mmengine.dataset.BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such annotation file.
        ValueError: If it is no such JSON, or holds no usable image.
    """

    METAINFO: ClassVar[dict] = dict(
        dataset_type="TextDetDataset", task_name="textdet", category=[dict(id=0, name="text")]
    )

    def __init__(self, *args, check_images: bool | None = None, **kwargs) -> None:
        self.check_images = kwargs.get("test_mode", False) if check_images is None else check_images
        # Shared with the data workers, so that their counts add up.
        self.unreadable = torch.zeros((), dtype=torch.long).share_memory_()
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

    @staticmethod
    def _image_fault(path: str) -> str:
        if not os.path.isfile(path):
            return "image file is missing"
        try:
            with Image.open(path):
                return ""
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            return "image file cannot be read"

    def _report(self, faults: Counter[str], fault: str, where: str) -> None:
        faults[fault] += 1
        if faults[fault] <= _EXAMPLES:
            print_log(f"{self.ann_file}: {where}: {fault}", logger="current", level=logging.WARNING)

    def prepare_data(self, idx: int) -> dict | None:
        """Run the pipeline on a sample; None, after a report, if its image cannot be read.

        Raises:
            ValueError: In test mode, where every image counts.
        """
        try:
            return super().prepare_data(idx)
        except (OSError, AssertionError, cv2.error) as error:
            path = self.get_data_info(idx)["img_path"]
            # Loaders assert that OpenCV gave something; other assertions are not about the file.
            if os.path.isfile(path) and cv2.imread(path) is not None:
                raise
            if self.test_mode:
                raise ValueError(f"{path}: cannot be read. Replace or remove it.") from error
        self.unreadable += 1
        print_log(
            f"{path}: skipped, cannot be read; {int(self.unreadable)} skipped so far",
            logger="current",
            level=logging.WARNING,
        )
        return None
