"""MMOCR's inferencers for the detectors of this package: safe, fast, and with characters.

MMOCR's own run our configs and checkpoints, too. These read photos as ``tools/infer.py`` does, and
checkpoints without running code from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import mmengine
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.fileio import get_local_path
from mmengine.registry import MODELS, VISUALIZERS
from torch import nn

import mmtextplug  # noqa: F401  lets MMOCR import

# isort: split
from mmocr import apis

from mmtextplug import launch
from mmtextplug.checkpoint import load_weights
from mmtextplug.craft.weights import official_weights
from mmtextplug.inference import accelerate
from mmtextplug.inference.detector import as_sample, usable_device
from mmtextplug.inference.saved_config import config_of
from mmtextplug.inference.settings import configure
from mmtextplug.photos import SUFFIXES, read_photo
from mmtextplug.safe_load import safe_load

Input = str | Path | np.ndarray


class TextDetInferencer(apis.TextDetInferencer):
    """MMOCR's ``TextDetInferencer`` with what it lacks.

    Photos of all kinds are read, and turned upright by their EXIF orientation; of a folder those
    files that are photos, in order. Words are in pixels of the upright photo. Predictions have
    ``chars``, where the post-processor finds characters: for each word a list of quads of 8
    numbers.

    Args:
        model (str | dict, optional): Config, its file, or the name of a model of MMOCR's. Default:
            the config in the checkpoint, or, if it has none, that of the official CRAFT.
        weights (str, optional): A checkpoint, all of whose parameters fit the model. It is read as
            data, and of its config only known parts of text detectors are built. Default: the
            official weights.
        device (str, optional): Default: a GPU if there is one.
        scope (str): Registry scope of the model.
        precision (str), compile (bool): See `mmtextplug.inference.accelerate`.
        settings: How words are found: ``polygons``, ``chars``, ``score_maps``, thresholds and the
            rest, see `TextDetector.from_config`.

    Raises:
        FileNotFoundError: If a file is missing, the official weights included.
        ValueError: If config, checkpoint and settings do not go together.
    """

    def __init__(
        self,
        model: str | Path | dict | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = "mmocr",
        *,
        precision: str = "auto",
        compile: bool = False,
        **settings: bool | float | None,
    ) -> None:
        if model is None:
            model = config_of(weights)
        elif isinstance(model, Path) or str(model).endswith(".py"):
            model = launch.load_config(str(model))
        elif isinstance(model, dict) and not isinstance(model, Config):
            model = Config(model)
        if device is not None:
            usable_device(device)
        self._fast = dict(precision=precision, compile=compile)
        # Kept, they would be drawn beside the words.
        self._settings = dict(score_maps=False) | settings
        super().__init__(model, None if weights is None else str(weights), device, scope)

    def _init_model(self, cfg: Config, weights: str | None, device: str = "cpu") -> nn.Module:
        cfg.model, cfg.test_pipeline = configure(cfg, **self._settings)
        model = MODELS.build(cfg.model)
        model.cfg = cfg
        named = weights is not None
        with get_local_path(weights if named else str(official_weights())) as path:
            try:
                load_weights(model, path)
            except ValueError as error:
                hint = "" if named else " No weights were named: these are the official ones."
                raise ValueError(f"{error}{hint}") from error
        return accelerate(model.to(device), **self._fast)

    def _init_pipeline(self, cfg: Config) -> Compose:
        return Compose([_read, *cfg.test_pipeline])

    def _init_visualizer(self, cfg: Config) -> object:
        cfg.setdefault("visualizer", dict(type="ScoreMapVisualizer"))
        return super()._init_visualizer(cfg)

    def _inputs_to_list(self, inputs: Input | Sequence[Input]) -> list:
        return _photos_of(inputs) or super()._inputs_to_list(inputs)

    def visualize(self, inputs: Sequence[Input], preds: list, **kwargs) -> list | None:
        """See MMOCR's; it gets the photos as the network saw them."""
        if _drawn(kwargs):
            inputs = [_read(item)["img"] for item in inputs]
        return super().visualize(inputs, preds, **kwargs)

    def pred2dict(self, data_sample: object) -> dict:
        """Plain lists of a prediction: ``polygons``, ``scores`` and, if found, ``chars``."""
        found = super().pred2dict(data_sample)
        chars = data_sample.pred_instances.get("chars")
        if chars is not None:
            found["chars"] = [np.reshape(quads, (-1, 8)).tolist() for quads in chars]
        return found


class MMOCRInferencer(apis.MMOCRInferencer):
    """MMOCR's ``MMOCRInferencer`` with `TextDetInferencer` for its detector.

    Predictions have ``det_chars``, where the post-processor finds characters. Words are read from
    the photo as the detector saw it.

    Recognisers and extractors are MMOCR's own; an extractor reads photos its own way. Files named
    in ``rec_weights`` and ``kie_weights`` are refused if they hold more than data. Without them,
    MMOCR downloads the weights that its model zoo has for the name of a model, and unpickles them:
    that may run code, so name a model alone only if you trust the zoo and the connection.

    Args:
        det, det_weights: See `TextDetInferencer`. Default: the official CRAFT, or no detector if
            ``rec`` is named.
        rec, rec_weights, kie, kie_weights, device: See MMOCR's.
        precision, compile, settings: See `TextDetInferencer`.

    Raises:
        FileNotFoundError, ValueError: See `TextDetInferencer`.
    """

    def __init__(
        self,
        det: str | Path | dict | None = None,
        det_weights: str | Path | None = None,
        rec: str | dict | None = None,
        rec_weights: str | None = None,
        kie: str | dict | None = None,
        kie_weights: str | None = None,
        device: str | None = None,
        **settings: bool | float | str | None,
    ) -> None:
        detects = rec is None or det is not None or det_weights is not None
        if kie is not None and (rec is None or not detects):
            raise ValueError("kie: needs det and rec, too")
        self.visualizer, self.mode = None, "det" if detects else "rec"
        for weights in (rec_weights, kie_weights):
            if weights is not None:
                with get_local_path(str(weights)) as path:
                    safe_load(path)
        if detects:
            self.textdet_inferencer = TextDetInferencer(det, det_weights, device, **settings)
        if rec is not None:
            self.textrec_inferencer = apis.TextRecInferencer(rec, rec_weights, device)
            if detects:
                self.mode = "det_rec"
                fonts = self.textrec_inferencer.visualizer
                self.visualizer = VISUALIZERS.build(
                    dict(
                        type="mmocr.TextSpottingLocalVisualizer",
                        name=f"inferencer{datetime.now().timestamp()}",
                        font_families=fonts.font_families,
                        font_properties=fonts.font_properties,
                    )
                )
        if kie is not None:
            self.kie_inferencer = apis.KIEInferencer(kie, kie_weights, device)
            self.mode = "det_rec_kie"

    def _inputs_to_list(self, inputs: Input | Sequence[Input]) -> list:
        return _photos_of(inputs) or super()._inputs_to_list(inputs)

    # MMOCR's name. Words are cropped out of what it returns.
    def _inputs2ndarrray(self, inputs: Sequence[Input]) -> list[np.ndarray]:
        return [_read(item)["img"] for item in inputs]

    def visualize(self, inputs: Sequence[Input], preds: dict, **kwargs) -> list | None:
        """See MMOCR's; words and texts are drawn on the photos as the detector saw them."""
        if self.mode == "det_rec" and _drawn(kwargs):
            inputs = self._inputs2ndarrray(inputs)
        return super().visualize(inputs, preds, **kwargs)

    def postprocess(
        self,
        preds: dict,
        visualization: list | None = None,
        print_result: bool = False,
        save_pred: bool = False,
        pred_out_dir: str = "",
    ) -> dict:
        """See MMOCR's; with characters."""
        done = super().postprocess(preds, visualization)
        for sample, found in zip(preds.get("det", ()), done["predictions"]):
            chars = self.textdet_inferencer.pred2dict(sample).get("chars")
            if chars is not None:
                found["det_chars"] = chars
        if print_result:
            print({"predictions": done["predictions"]})
        if save_pred and pred_out_dir:
            samples = preds.get("det") or [words[0] for words in preds["rec"]]
            for sample, found in zip(samples, done["predictions"], strict=True):
                path = Path(pred_out_dir, Path(sample.img_path).stem + ".json")
                mmengine.dump(found, str(path), ensure_ascii=False)
        return done


def _read(item: Input | dict) -> dict:
    """What a test pipeline works on, of a path, an address or an image (see `as_sample`)."""
    path = None
    if isinstance(item, str):
        path = item
        with get_local_path(item) as local:
            item = read_photo(local)[0]
    if not isinstance(item, np.ndarray):
        raise ValueError(
            f"an input must be a photo's path or a uint8 array, got {type(item).__name__}"
        )
    return as_sample(item) | dict(img_path=path)  # MMOCR numbers what has None


def _drawn(options: dict) -> bool:
    return any(options.get(key) for key in ("show", "save_vis", "return_vis"))


def _photos_of(inputs: Input | Sequence[Input]) -> list | None:
    """Photos of a folder in order, paths as strings; None for what is MMOCR's to understand."""
    if isinstance(inputs, (list, tuple)):
        return [str(item) if isinstance(item, Path) else item for item in inputs]
    if isinstance(inputs, (str, Path)) and Path(inputs).is_dir():
        paths = sorted(p for p in Path(inputs).iterdir() if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise ValueError(f"{inputs}: no photos in this folder")
        return [str(path) for path in paths]
    return [str(inputs)] if isinstance(inputs, Path) else None
