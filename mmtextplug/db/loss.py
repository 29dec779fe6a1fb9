"""The loss of differentiable binarization, for any head that predicts two maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import MODELS
from mmocr.models.textdet.module_losses.base import BaseTextDetModuleLoss
from mmocr.structures import TextDetDataSample
from torch import Tensor

from mmtextplug.db.pixel_losses import at_least_float
from mmtextplug.db.shapes import FAULTS, TextPolygons, checked_settings, text_polygons
from mmtextplug.db.targets import DBTargets, draw_db_targets
from mmtextplug.frames import image_frame, outside_frames, padded_size
from mmtextplug.geometry import to_device

PRESETS = {
    "paper": dict(
        loss_prob=dict(type="MinedBCEWithLogitsLoss"),
        loss_db=dict(type="MinedBCEWithLogitsLoss"),
        loss_thr=dict(type="MaskedL1Loss"),
        weight_prob=1.0,
        weight_db=1.0,
        weight_thr=10.0,
    ),
    "released": dict(
        loss_prob=dict(type="MinedBCEWithLogitsLoss"),
        loss_db=dict(type="BatchDiceLoss"),
        loss_thr=dict(type="MaskedL1Loss"),
        weight_prob=5.0,
        weight_db=1.0,
        weight_thr=10.0,
    ),
}
"""What is published: 'paper', ``L_s + alpha L_b + beta L_t`` with alpha 1 and beta 10, binary
cross-entropy with 1 : 3 mining for P and B; 'released', as the authors' code and MMOCR's have it,
5 times cross-entropy for P, Dice for B, 10 times L1 for T. Not published is that both learn from
batches without text, too (``fallback_negatives``)."""


@MODELS.register_module()
class DifferentiableBinarizationLoss(BaseTextDetModuleLoss):
    """Draws the targets of a batch and compares P, T and B with them (DB paper, section 3.5).

    It takes the place of MMOCR's ``DBModuleLoss`` in a ``DBHead``. Targets are drawn on the device
    of the prediction, at its size, from ``gt_instances.polygons`` (see `db_targets`), or taken from
    ``gt_db_targets`` if ``DifferentiableBinarizationLabels`` drew them. The samples stay as they
    are. Beyond an image that a batch pads or ``RandomTextWarp`` moves, nothing is trained; what a
    ``Pad`` in the pipeline adds is part of the image. All is computed in float32 (or float64, if
    the prediction is).

    Args:
        preset (str): 'released' or 'paper', see `PRESETS`; the settings it stands for can be
            replaced one by one:
        loss_prob, loss_db, loss_thr (dict, optional): Config of the losses of P, B and T, modules
            ``(prediction, target, mask) -> scalar``. Those of P and B are given logits if their
            name has ``WithLogits`` in it, probabilities otherwise.
        weight_prob, weight_db, weight_thr (float, optional): Their weights.
        k (float): Amplification of ``B = sigmoid(k (P - T))``.
        shrink_ratio, thr_min, thr_max (float): See `db_targets`.
        min_side (float): Words whose minimum-area rectangle has a shorter side, in pixels of the
            network's input, are not trained on.

    Raises:
        ValueError: If the preset is unknown or a number is out of its range.
    """

    def __init__(
        self,
        preset: str = "released",
        loss_prob: dict | None = None,
        loss_db: dict | None = None,
        loss_thr: dict | None = None,
        weight_prob: float | None = None,
        weight_db: float | None = None,
        weight_thr: float | None = None,
        k: float = 50.0,
        shrink_ratio: float = 0.4,
        thr_min: float = 0.3,
        thr_max: float = 0.7,
        min_side: float = 8.0,
    ) -> None:
        super().__init__()
        if preset not in PRESETS:
            raise ValueError(
                f"DifferentiableBinarizationLoss: preset must be one of {tuple(PRESETS)}, "
                f"got {preset!r}"
            )
        given = dict(
            loss_prob=loss_prob,
            loss_db=loss_db,
            loss_thr=loss_thr,
            weight_prob=weight_prob,
            weight_db=weight_db,
            weight_thr=weight_thr,
        )
        chosen = {key: PRESETS[preset][key] if v is None else v for key, v in given.items()}
        self.loss_prob = MODELS.build(chosen["loss_prob"])
        self.loss_db = MODELS.build(chosen["loss_db"])
        self.loss_thr = MODELS.build(chosen["loss_thr"])
        self.weights = {name: chosen[f"weight_{name}"] for name in ("prob", "db", "thr")}
        if not k > 0 or min(self.weights.values()) < 0:
            raise ValueError(
                f"DifferentiableBinarizationLoss: k={k} must be positive and no weight negative: "
                f"{self.weights}"
            )
        self.k = k
        self.settings = checked_settings(shrink_ratio, thr_min, thr_max, min_side)

    def forward(
        self, predictions: Sequence[Tensor], data_samples: Sequence[TextDetDataSample]
    ) -> dict[str, Tensor]:
        """Loss of a batch.

        Args:
            predictions (Sequence[Tensor]): Logits of P and values of T, ``(B, H, W)`` each, at any
                stride. What else a head may hand over is not used: B follows from these two.
            data_samples (Sequence[TextDetDataSample]): With ``gt_instances``.

        Returns:
            dict[str, Tensor]: ``loss_prob``, ``loss_db`` and ``loss_thr`` to be summed;
            ``unusable_words`` and ``small_words``, how many of this batch were not trained on, to
            be logged.

        Raises:
            ValueError: If the maps have other shapes, or there is not one for each sample.
        """
        logits, threshold = (at_least_float(plane) for plane in predictions[:2])
        if logits.dim() != 3 or logits.shape != threshold.shape or len(logits) != len(data_samples):
            raise ValueError(
                "DifferentiableBinarizationLoss: logits of P and values of T must be (B, H, W) for "
                f"B samples; got {tuple(logits.shape)} and {tuple(threshold.shape)} for "
                f"{len(data_samples)} samples"
            )
        targets, counts = self.get_targets(data_samples, logits.shape[1:], logits.device)
        binary = self.k * (logits.sigmoid() - threshold)
        kernel, mask = targets.kernel, targets.mask
        losses = {
            "prob": _applied(self.loss_prob, logits, kernel, mask),
            "db": _applied(self.loss_db, binary, kernel, mask),
            "thr": self.loss_thr(threshold, targets.threshold, targets.threshold_mask),
        }
        weighted = {f"loss_{name}": self.weights[name] * loss for name, loss in losses.items()}
        return {**weighted, **counts}

    def get_targets(
        self,
        data_samples: Sequence[TextDetDataSample],
        size: tuple[int, int],
        device: torch.device | str = "cpu",
    ) -> tuple[DBTargets, dict[str, Tensor]]:
        """Targets ``(B, H, W)`` of a batch at the size given, and counts to be logged.

        Raises:
            KeyError: If a sample has no polygons.
            ValueError: If maps that the data workers drew are not what is asked for.
        """
        device = torch.device(device)
        if all("gt_db_targets" in sample for sample in data_samples):
            return self._stored_targets(data_samples, size, device), {}
        shapes = self._measured(data_samples, size)
        ignored = torch.cat([to_device(_ignored(sample), device) for sample in data_samples])
        targets = draw_db_targets(
            shapes,
            ignored,
            size,
            thr_min=self.settings["thr_min"],
            thr_max=self.settings["thr_max"],
            batch_size=len(data_samples),
            device=device,
        )
        frames = [_scaled(image_frame(sample), sample, size) for sample in data_samples]
        within = ~outside_frames(frames, size, device)
        for mask in (targets.mask, targets.threshold_mask):
            mask &= within
        fault = to_device(torch.from_numpy(shapes.fault), device) * ~ignored
        small = (fault == FAULTS.index("small")).sum()
        counts = {"unusable_words": (fault > 0).sum() - small, "small_words": small}
        return targets, {name: count.float() for name, count in counts.items()}

    def _measured(
        self, data_samples: Sequence[TextDetDataSample], size: tuple[int, int]
    ) -> TextPolygons:
        polygons, image = [], []
        for number, sample in enumerate(data_samples):
            words = sample.get("gt_instances", {}).get("polygons")
            if words is None:
                raise KeyError(
                    f"{sample.get('img_path', 'a sample')}: no polygons (gt_instances.polygons). "
                    "Load annotations with_polygon=True and pack them into data samples."
                )
            polygons += [_scaled(word, sample, size) for word in words]
            image += [number] * len(words)
        rows = padded_size(data_samples[0])[0]
        return text_polygons(
            polygons,
            shrink_ratio=self.settings["shrink_ratio"],
            min_side=self.settings["min_side"] * size[0] / rows,
            batch_index=image,
        )

    def _stored_targets(
        self,
        data_samples: Sequence[TextDetDataSample],
        size: tuple[int, int],
        device: torch.device,
    ) -> DBTargets:
        """Maps that were drawn in the data workers, put together; nothing is trained beyond."""
        full = (len(data_samples), *size)
        types = (torch.float32, torch.bool) * 2
        batch = DBTargets(*(torch.zeros(full, dtype=dtype, device=device) for dtype in types))
        for number, sample in enumerate(data_samples):
            stored = sample.gt_db_targets
            height, width = (
                -(-inner * side // outer)
                for inner, side, outer in zip(sample.img_shape, size, padded_size(sample))
            )
            drawn, settings = tuple(stored.kernel.shape[1:]), stored.get("settings")
            if drawn != (height, width) or settings != self.settings:
                raise ValueError(
                    f"{sample.get('img_path', 'a sample')}: DifferentiableBinarizationLabels drew "
                    f"maps of {drawn} with {settings}, but the loss wants {(height, width)} with "
                    f"{self.settings}. Give the labels the network's stride, and both the same "
                    "settings."
                )
            for name, maps in zip(DBTargets._fields, batch):
                plane = torch.as_tensor(getattr(stored, name)[0])
                maps[number, :height, :width] = to_device(plane, device)
        return batch


def _scaled(
    points: np.ndarray | None, sample: TextDetDataSample, size: tuple[int, int]
) -> np.ndarray | None:
    """Points of the network's input in pixels of its maps; of any shape, even one too many."""
    if points is None:
        return None
    rows, columns = padded_size(sample)
    points = np.asarray(points, np.float64)
    return points * np.resize([size[1] / columns, size[0] / rows], points.shape)


def _applied(loss: torch.nn.Module, logits: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    on_logits = "WithLogits" in type(loss).__name__
    return loss(logits if on_logits else logits.sigmoid(), target, mask)


def _ignored(sample: TextDetDataSample) -> Tensor:
    words = sample.gt_instances
    ignored = words.get("ignored")
    return torch.as_tensor([False] * len(words.polygons) if ignored is None else ignored).bool()
