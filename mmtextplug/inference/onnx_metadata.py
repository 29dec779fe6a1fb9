"""What an ONNX file says about itself: how images are prepared for it, and how words are found."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.config import Config

from mmtextplug.inference.settings import photo_pipeline
from mmtextplug.inference.untrusted import untrusted

FORMAT = "1"
"""Of the metadata; raised when older readers would misunderstand it."""

_PREFIX = "mmtextplug."
_TUPLE = "__tuple__"  # JSON has none, and MMCV's transforms tell them from lists
_FOR_TRAINING = ("module_loss", "init_cfg")


@dataclass(frozen=True)
class OnnxMetadata:
    """How to use a network in an ONNX file.

    Attributes:
        config: ``default_scope``; ``model`` with its ``type``, its ``data_preprocessor`` and its
            ``det_head`` without loss; ``test_pipeline`` after the loading of the image.
        divisor: Height and width of the input must be multiples of it.
        bytes_per_pixel: Memory that a pixel of the input takes, see `memory.bytes_per_pixel`.
        reach: How far tiles have to overlap, see `tiles.reach`.
    """

    config: Config
    divisor: int
    bytes_per_pixel: float
    reach: int | None

    def pack(self) -> dict[str, str]:
        """As ``metadata_props`` of an ONNX file.

        Raises:
            ValueError: If the config holds what JSON cannot say.
        """
        fields = {
            "format": FORMAT,
            "config": json.dumps(_plain(self.config.to_dict(), "config")),
            "divisor": str(self.divisor),
            "bytes_per_pixel": repr(float(self.bytes_per_pixel)),
            "reach": json.dumps(self.reach),
        }
        return {_PREFIX + key: value for key, value in fields.items()}

    @classmethod
    def unpack(cls, metadata: Mapping[str, str], path: object) -> OnnxMetadata:
        """Read ``metadata_props`` as data: what they could do harm by is refused.

        Args:
            metadata (Mapping[str, str]): Of any ONNX file.
            path (object): Of the file, for messages.

        Raises:
            ValueError: If they are not what `pack` writes, or name anything but
                registered parts of text detectors.
        """
        version = metadata.get(_PREFIX + "format")
        if version is None:
            raise ValueError(
                f"{path}: an ONNX file without the metadata that tools/export_onnx.py writes: how "
                "to prepare an image for it is not known; export the checkpoint by that tool"
            )
        if version != FORMAT:
            raise ValueError(
                f"{path}: its metadata has format {version[:20]!r}, this mmtextplug reads "
                f"{FORMAT!r}; install the mmtextplug that wrote it, or export it again"
            )
        try:
            content = _restored(json.loads(metadata[_PREFIX + "config"]))
            divisor = int(metadata[_PREFIX + "divisor"])
            bytes_per_pixel = float(metadata[_PREFIX + "bytes_per_pixel"])
            reach = json.loads(metadata[_PREFIX + "reach"])
            sound = divisor > 0 and 0 < bytes_per_pixel < float("inf") and _complete(content)
            sound = sound and (reach is None or (type(reach) is int and 0 <= reach < 1 << 16))
        except (KeyError, ValueError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise ValueError(f"{path}: its metadata is damaged; export it again")
        for where, reason in untrusted(content):
            raise ValueError(
                f"{path}: its metadata is refused: {where}: {reason}; import it first if it "
                "is your own, otherwise export the checkpoint again"
            )
        return cls(Config(content), divisor, bytes_per_pixel, reach)


def usable_config(config: Config, divisor: int) -> Config:
    """The part of a config that the user of an exported network needs.

    Args:
        config (Config): With a ``model`` and test transforms, as `TextDetector.from_config` takes.
        divisor (int): Images are padded to multiples of it.

    Raises:
        ValueError: If there are no test transforms.
    """
    model = config.model.to_dict()
    head = {key: value for key, value in model["det_head"].items() if key not in _FOR_TRAINING}
    preprocessor = dict(model["data_preprocessor"], pad_size_divisor=divisor)
    return Config(
        dict(
            default_scope=config.get("default_scope") or "mmocr",
            model=dict(type=model["type"], data_preprocessor=preprocessor, det_head=head),
            test_pipeline=[step.to_dict() for step in photo_pipeline(config)],
        )
    )


def _plain(value: object, where: str) -> object:
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(
        f"{where}: a {type(value).__name__} cannot be written into an ONNX file; use numbers, "
        "text, lists and dicts, and the names of types"
    )


def _restored(value: object) -> object:
    if isinstance(value, dict):
        if set(value) == {_TUPLE}:
            return tuple(_restored(item) for item in value[_TUPLE])
        return {key: _restored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_restored(item) for item in value]
    return value


def _complete(content: object) -> bool:
    """Whether all is there, and where it should be, that `usable_config` writes."""
    if set(content) != {"default_scope", "model", "test_pipeline"}:
        return False
    steps = content["test_pipeline"]
    parts = [content["model"], content["model"]["data_preprocessor"], content["model"]["det_head"]]
    return (
        isinstance(content["default_scope"], str)
        and isinstance(steps, list)
        and all(isinstance(part["type"], str) for part in [*parts, *steps])
        and isinstance(parts[2]["postprocessor"]["type"], str)
    )
