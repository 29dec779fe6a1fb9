"""SynthText from its index: memory-mapped arrays that all workers and ranks share."""

from __future__ import annotations

import contextlib
import json
import mmap
import numbers
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from mmengine.dataset import force_full_init
from mmengine.registry import DATASETS

from mmtextplug.datasets.char_text import TextImagesDataset
from mmtextplug.datasets.synthtext_index import ARRAYS, ENCODING, FORMAT, MANIFEST, VERSION

# Every so many images a process lets go of the pages it has touched, which stay in the cache of the
# system: else those of the whole index would in time be counted as memory of each worker.
RELEASE_EVERY = 512
_REMEDY = "make it again with tools/datasets/synthtext_index.py --overwrite"


class SynthTextIndex:
    """A folder written by `mmtextplug.datasets.synthtext_index.write_index`, opened for reading.

    Opening maps its files and reads a few bytes of each. A copy, pickled or not, maps them again.

    Args:
        folder (str | Path): The folder.

    Attributes:
        images (str | None): Folder that the names of the images start from, None if the index does
            not say.

    Raises:
        FileNotFoundError: If it is not there, or a file in it.
        ValueError: If a file is damaged, cut off, or of another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.abspath(folder))
        self.manifest = self._read_manifest()
        entry = self.manifest.get("images")
        # By name, as the entry was made: the folder of the index may be a link.
        self.images = entry and os.path.normpath(os.path.join(self.folder, entry))
        self._reads = 0
        self._maps: list[mmap.mmap] = []
        self._arrays = {name: self._map(name) for name in ARRAYS}
        self._check_ends()

    def __getstate__(self) -> dict:
        return {"folder": self.folder}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["folder"])

    def __len__(self) -> int:
        return len(self._arrays["sizes"])

    def _read_manifest(self) -> dict:
        path = self.folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise FileNotFoundError(
                f"{path}: no such file. Check index and data_root, or make the index of SynthText "
                "with tools/datasets/synthtext_index.py."
            ) from None
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: cannot be read as JSON ({error}); {_REMEDY}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path}: field 'format' is not {FORMAT!r}; {_REMEDY}")
        if content.get("version") != VERSION:
            raise ValueError(
                f"{path}: field 'version' is {content.get('version')!r}, this package reads "
                f"{VERSION}; {_REMEDY}"
            )
        rows = content.get("arrays")
        if not isinstance(rows, dict) or not all(isinstance(rows.get(n), int) for n in ARRAYS):
            raise ValueError(f"{path}: field 'arrays' is damaged; {_REMEDY}")
        if not isinstance(content.get("images", ""), str):
            raise ValueError(f"{path}: field 'images' is no folder; {_REMEDY}")
        return content

    def _map(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        dtype, row = ARRAYS[name]
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file; {_REMEDY}") from None
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(f"{path}: damaged or cut off ({error}); {_REMEDY}") from error
        shape = (self.manifest["arrays"][name], *row)
        if array.dtype != np.dtype(dtype) or array.shape != shape:
            raise ValueError(
                f"{path}: {array.dtype} {array.shape}, not {np.dtype(dtype)} {shape} as {MANIFEST} "
                f"says; {_REMEDY}"
            )
        if isinstance(array.base, mmap.mmap):
            self._maps.append(array.base)
        # A plain view: slicing an np.memmap takes several times as long.
        return array.view(np.ndarray)

    def _check_ends(self) -> None:
        rows = {name: len(array) for name, array in self._arrays.items()}
        last = self._arrays["starts"][-1].tolist() if rows["starts"] else []
        if (
            last != [rows[name] for name in ("names", "words", "texts", "chars")]
            or rows["starts"] != rows["sizes"] + 1
            or rows["lengths"] != rows["words"]
        ):
            raise ValueError(f"{self.folder / 'starts.npy'}: damaged; {_REMEDY}")

    def _release(self) -> None:
        self._reads = 0
        with contextlib.suppress(AttributeError):  # not every system has it
            for mapping in self._maps:
                mapping.madvise(mmap.MADV_DONTNEED)

    def read(self, image: int) -> dict:
        """The annotations of an image.

        Args:
            image (int): From 0 to ``len(self) - 1``.

        Returns:
            dict: ``img_path`` as ``gt.mat`` has it, ``instances`` (``polygon`` 8 float32, ``bbox``,
            ``bbox_label``, ``ignore``, ``text``, and ``chars``, ``(n, 8)`` float32, where they are
            known), and ``height`` and ``width`` where they are known.

        Raises:
            ValueError: If the files contradict each other.
        """
        self._reads += 1
        if self._reads >= RELEASE_EVERY:
            self._release()
        arrays = self._arrays
        (name, word, text, char), ends = arrays["starts"][image : image + 2].tolist()
        lengths = arrays["lengths"][word : ends[1]].tolist()
        sums = [sum(size for size, _ in lengths), sum(count for _, count in lengths)]
        if sums != [ends[2] - text, ends[3] - char]:
            raise ValueError(
                f"{self.folder}: starts.npy or lengths.npy is damaged at image {image}; {_REMEDY}"
            )
        # Copies, which nobody can write back through and which outlive the mapping.
        polygons = arrays["words"][word : ends[1]].reshape(-1, 8).copy()
        quads = arrays["chars"][char : ends[3]].reshape(-1, 8).copy()
        texts = arrays["texts"][text : ends[2]].tobytes()
        corners = polygons.reshape(-1, 4, 2)
        boxes = np.concatenate([corners.min(1), corners.max(1)], axis=1)
        instances, text, char = [], 0, 0
        try:
            info = {"img_path": arrays["names"][name : ends[0]].tobytes().decode(*ENCODING)}
            for (size, count), polygon, box in zip(lengths, polygons, boxes):
                instance = {
                    "polygon": polygon,
                    "bbox": box,
                    "bbox_label": 0,
                    "ignore": False,
                    "text": texts[text : text + size].decode(*ENCODING),
                }
                if count:
                    instance["chars"] = quads[char : char + count]
                instances.append(instance)
                text, char = text + size, char + count
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self.folder}: names.npy or texts.npy is damaged at image {image}; {_REMEDY}"
            ) from error
        height, width = arrays["sizes"][image].tolist()
        if height and width:
            info.update(height=height, width=width)
        info["instances"] = instances
        return info


@DATASETS.register_module()
class SynthTextDataset(TextImagesDataset):
    """SynthText, or a dataset in its layout, with the characters of its words.

    Samples look as those of `CharTextDataset`. It opens at once and keeps no annotation in memory
    but the pages that the system caches, once for all data workers and ranks of a machine.

    Args:
        index (str): Folder written by ``tools/datasets/synthtext_index.py``, relative to
            ``data_root``.
        data_root (str): What ``index`` and ``data_prefix`` are relative to.
        data_prefix (dict, optional): ``img_path``: the images folder. Default: the one that the
            index remembers, or ``data_root`` if it remembers none.
        metainfo (Mapping, optional): Adds to, or replaces, fields of ``METAINFO``.
        indices (int | Sequence[int], optional): So many of the first images, or of the last if it
            is negative; or which images.
        pipeline (Sequence): Transforms.
        test_mode (bool): Whether an image that cannot be read is an error, rather than replaced.
        lazy_init (bool): Whether to open the index only when it is needed.
        max_refetch (int): How many images may be of no use in a row, while training.

    Raises:
        FileNotFoundError: If the index or one of its files is not there, or the folder of images
            that it remembers.
        ValueError: If one is damaged or of another version; if ``indices`` are out of range; while
            training, if no image can be read.
    """

    def __init__(
        self,
        index: str,
        *,
        data_root: str = "",
        data_prefix: Mapping[str, str] | None = None,
        metainfo: Mapping | None = None,
        indices: int | Sequence[int] | None = None,
        pipeline: Sequence = (),
        test_mode: bool = False,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        self.index: SynthTextIndex | None = None
        self._selection: range | np.ndarray = range(0)
        self._own_images = data_prefix is None
        super().__init__(
            ann_file=os.fspath(index),
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=dict(data_prefix or {"img_path": ""}),
            indices=indices,
            serialize_data=False,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def full_init(self) -> None:
        """Open the index, once."""
        if self._fully_initialized:
            return
        self.index = SynthTextIndex(self.ann_file)
        if self._own_images and self.index.images:
            if not os.path.isdir(self.index.images):
                raise FileNotFoundError(
                    f"{self.index.folder / MANIFEST}: images: no folder {self.index.images}; give "
                    "data_prefix=dict(img_path=...), or run tools/datasets/synthtext_index.py again"
                )
            self.data_prefix = {"img_path": self.index.images}
        self._selection = range(len(self.index))
        if self._indices is not None:
            self._selection = self._select(self._indices)
        self._fully_initialized = True

    def _select(self, indices: int | Sequence[int]) -> range | np.ndarray:
        if isinstance(indices, numbers.Integral):
            return self._selection[:indices] if indices >= 0 else self._selection[indices:]
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        count = len(self._selection)
        wrong = chosen[(chosen >= count) | (chosen < -count)]
        if len(wrong):
            raise ValueError(
                f"{self.ann_file}: indices: {wrong[0]} is out of range, there are {count} images"
            )
        return np.asarray(self._selection, dtype=np.int64)[chosen]

    @force_full_init
    def __len__(self) -> int:
        return len(self._selection)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Annotations of sample ``idx``, as `SynthTextIndex.read` has them, with the image's path.

        Raises:
            IndexError: If there is no such sample.
            ValueError: If the index is damaged there.
        """
        info = self.index.read(int(self._selection[idx]))
        info["img_path"] = os.path.join(self.data_prefix.get("img_path", ""), info["img_path"])
        info["sample_idx"] = idx if idx >= 0 else len(self) + idx
        return info

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep some samples only; ``indices`` as in the constructor."""
        self._selection = self._select(indices)

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> SynthTextDataset:
        """Another dataset, of some of the samples, on the same files."""
        subset = self._copy_without_annotation()
        # A copy of shared memory is not shared.
        subset.unreadable.share_memory_()
        subset.get_subset_(indices)
        return subset
