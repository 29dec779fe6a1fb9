"""Generated text as a dataset: pictures of words drawn the moment they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from .text_renderer import TextRenderer, sample_rng


@DATASETS.register_module()
class GeneratedTextDataset(BaseDataset):
    """Pictures of generated words with exact character quads.

    Nothing is stored and nothing is drawn before it is asked for: picture ``idx`` depends on
    ``seed`` and ``idx`` alone, in any process, so ``num_samples`` may be as large as the number of
    pictures a training will ever see, and a validation set is another seed.

    Each item enters the pipeline as ``img`` (BGR uint8, already loaded), ``img_shape`` and
    ``ori_shape`` (height, width), ``height``, ``width``, ``img_path`` (a name, not a file),
    ``sample_idx`` and ``instances`` as in MMOCR's JSON, each with ``polygon``, ``bbox``,
    ``bbox_label``, ``ignore``, ``text`` and ``chars``, a list of 8-number quads in reading order.

    Args:
        num_samples (int): Number of pictures.
        seed (int): Which series of pictures, 0 to 2**32 - 1. Defaults to 0.
        size (int | tuple[int, int]): Height and width of the pictures. Defaults to 256.
        renderer (dict, optional): Other arguments of
            :class:`~mmtextplug.datasets.text_renderer.TextRenderer`.
        pipeline (Sequence[dict | Callable]): Transforms. Defaults to none.
        test_mode (bool): As in ``mmengine.dataset.BaseDataset``. Defaults to False.
        metainfo (Mapping, optional): As in ``BaseDataset``.
        indices (int | Sequence[int], optional): As in ``BaseDataset``.
        lazy_init (bool): As in ``BaseDataset``. Defaults to False.
        max_refetch (int): As in ``BaseDataset``. Defaults to 1000.

    Raises:
        ValueError: If an argument is out of range.
        FileNotFoundError: If a folder or list named in ``renderer`` does not exist.
    """

    METAINFO: dict = {  # noqa: RUF012 - BaseDataset's own idiom
        "dataset_type": "TextDetDataset",
        "task_name": "textdet",
        "category": [{"id": 0, "name": "text"}],
    }

    def __init__(
        self,
        num_samples: int,
        seed: int = 0,
        size: int | tuple[int, int] = 256,
        renderer: dict | None = None,
        pipeline: Sequence[dict | Callable] = (),
        test_mode: bool = False,
        metainfo: Mapping | None = None,
        indices: int | Sequence[int] | None = None,
        lazy_init: bool = False,
        max_refetch: int = 1000,
    ) -> None:
        if not isinstance(num_samples, int) or num_samples <= 0:
            raise ValueError(f"num_samples must be a positive number, got {num_samples!r}")
        if not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"seed must be 0 to 2**32 - 1, got {seed!r}")
        renderer = dict(renderer or {})
        if "size" in renderer:
            raise ValueError("size is an argument of GeneratedTextDataset, not of its renderer")
        self.num_samples = num_samples
        self.seed = seed
        self.renderer = TextRenderer(size=size, **renderer)
        super().__init__(
            metainfo=metainfo,
            indices=indices,
            serialize_data=False,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
        )

    def load_data_list(self) -> Sequence[int]:
        """Numbers of the pictures: a range, which takes no memory and no time."""
        return range(self.num_samples)

    def get_data_info(self, idx: int) -> dict:
        """Draw picture ``idx``; negative indices count from the end.

        Returns:
            dict: What enters the pipeline, see the class.

        Raises:
            IndexError: If there is no such picture.
        """
        self.full_init()
        number = self.data_list[idx]
        sample = self.renderer.render(sample_rng(self.seed, number))
        height, width = sample.image.shape[:2]
        return {
            "img": sample.image,
            "img_path": f"generated/{self.seed}/{number}",
            "img_shape": (height, width),
            "ori_shape": (height, width),
            "height": height,
            "width": width,
            "sample_idx": idx if idx >= 0 else len(self) + idx,
            "instances": sample.instances(),
        }
