"""What there is to draw of a data sample: words and score maps, predicted and annotated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from mmengine.structures import BaseDataElement, InstanceData

from mmtextplug.craft.link_targets import centre_line, draw_centre_lines
from mmtextplug.craft.targets import (
    CRAFT_KINDS,
    REFINED_KINDS,
    WordLabels,
    draw_score_maps,
    places_of,
)
from mmtextplug.db.targets import db_targets

# The binary map's target is the kernel, as the probability's is.
DB_KINDS = ("probability", "threshold", "binary")
# By default the loss leaves out lower words, in pixels of the network's input.
_MIN_SIDE = 8.0


@dataclass(frozen=True)
class Scene:
    """What there is to draw of a sample; polygons in pixels of the original image.

    Attributes:
        found, annotated, ignored: Arrays ``(K, 2)``; None where there is no prediction or no
            annotation, which is not the same as an empty one.
        predicted, generated: ``(K, h, w)`` float32, each over the whole image; None if unknown.
        kinds: What the K maps are.
    """

    found: list[np.ndarray] | None = None
    annotated: list[np.ndarray] | None = None
    ignored: list[np.ndarray] | None = None
    predicted: np.ndarray | None = None
    generated: np.ndarray | None = None
    kinds: tuple[str, ...] = CRAFT_KINDS


def read_scene(
    sample: BaseDataElement,
    shape: tuple[int, int],
    *,
    gt: bool = True,
    pred: bool = True,
    score_thr: float = 0.0,
) -> Scene:
    """Collect what a data sample has to show, on the host.

    Args:
        sample: MMOCR's ``TextDetDataSample`` from a test pipeline: words and characters in pixels
            of the original image. ``pred_score_maps`` comes from ``CRAFTPostprocessor`` or
            ``DifferentiableBinarizationPostprocessor`` with ``keep_score_maps=True``.
        shape: (height, width) of the original image.
        gt: Whether to look at the annotation.
        pred: Whether to look at the prediction.
        score_thr: Words with a lower score are left out.

    Returns:
        CRAFT's maps are generated from ``gt_instances.chars`` at the size of the predicted ones
        (half the image's where there are none), or taken from ``gt_score_maps`` if the pipeline
        drew them; a refined link's and DB's from ``gt_instances.polygons``, where such maps were
        predicted.
    """
    scene: dict = {}
    if pred and "pred_instances" in sample:
        words = sample.pred_instances
        polygons = _polygons(words)
        scores = words.get("scores")
        scores = np.ones(len(polygons)) if scores is None else _numpy(scores)
        scene["found"] = [p for p, score in zip(polygons, scores, strict=True) if score > score_thr]
    if pred and "pred_score_maps" in sample:
        scene["kinds"] = tuple(sample.pred_score_maps.get("kinds", CRAFT_KINDS))
        maps = _numpy(sample.pred_score_maps.data)
        scene["predicted"] = maps[: len(scene["kinds"])].astype(np.float32)
    if gt and "gt_instances" in sample:
        ignored = _ignored(sample.gt_instances)
        polygons = _polygons(sample.gt_instances)
        scene["annotated"] = [p for p, i in zip(polygons, ignored, strict=True) if not i]
        scene["ignored"] = [p for p, i in zip(polygons, ignored, strict=True) if i]
    kinds = scene.get("kinds", CRAFT_KINDS)
    if gt and kinds[:2] != CRAFT_KINDS:
        if "gt_instances" in sample:
            size = scene["predicted"].shape[1:]
            stride = _stride(sample.get("img_shape", shape)[0], size[0])
            maps = generate_db_maps(
                sample.gt_instances, size, _scale(sample, shape, size), _MIN_SIDE / stride
            )
            scene["generated"] = maps[: len(scene["kinds"])]
    elif gt:
        scene["generated"] = _generated(sample, shape, scene.get("predicted"))
        if kinds == REFINED_KINDS and scene["generated"] is not None:
            links = _centre_lines(sample, shape, scene["predicted"].shape[1:])
            scene["generated"] = np.concatenate([scene["generated"], links])
    return Scene(**scene)


def _generated(
    sample: BaseDataElement, shape: tuple[int, int], predicted: np.ndarray | None
) -> np.ndarray | None:
    if "gt_score_maps" in sample:
        maps = _numpy(sample.gt_score_maps.data)[:2].astype(np.float32)
        # They cover the padding, too.
        inner = sample.get("img_shape", shape)[:2]
        padded = sample.get("batch_input_shape", inner)
        rows, columns = (
            math.ceil(side * inner[i] / padded[i]) for i, side in enumerate(maps.shape[1:])
        )
        if predicted is not None:
            rows, columns = predicted.shape[1:]
        return maps[:, :rows, :columns]
    instances = sample.get("gt_instances")
    if instances is None or "chars" not in instances:
        return None
    if predicted is None:
        size = tuple(-(-side // 2) for side in shape)
        scale = np.full(2, 0.5, np.float32)
    else:
        size = predicted.shape[1:]
        scale = _scale(sample, shape, size)
    return generate_maps(instances, size, scale)


def _centre_lines(
    sample: BaseDataElement, shape: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """What a link refiner should predict, ``(1, H, W)``."""
    scale = _scale(sample, shape, size)
    usable = np.flatnonzero(~_ignored(sample.gt_instances))
    polygons = _polygons(sample.gt_instances)
    lines = [centre_line(polygons[i] * scale) for i in usable]
    return draw_centre_lines([line for line in lines if line is not None], size).numpy()


def _scale(sample: BaseDataElement, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(x, y): to pixels of the resized image, then to pixels of the map."""
    inner = sample.get("img_shape", shape)[:2]
    return np.array([inner[i] / shape[i] / _stride(inner[i], size[i]) for i in (1, 0)], np.float32)


def generate_db_maps(
    instances: InstanceData, size: tuple[int, int], scale: np.ndarray, min_side: float
) -> np.ndarray:
    """Targets of DB's maps for annotated words, by the loss's default settings.

    Args:
        instances: ``gt_instances`` with ``polygons``; ``ignored`` is respected if present.
        size, scale: See `generate_maps`.
        min_side: See `mmtextplug.db.targets.db_targets`.

    Returns:
        ``(3, H, W)`` float32, as `DB_KINDS` has them.
    """
    polygons = [polygon * scale for polygon in _polygons(instances)]
    targets = db_targets(polygons, _ignored(instances), size, min_side=min_side)
    kernel, threshold = targets.kernel[0].numpy(), targets.threshold[0].numpy()
    return np.stack([kernel, threshold, kernel])


def generate_maps(instances: InstanceData, size: tuple[int, int], scale: np.ndarray) -> np.ndarray:
    """Region and affinity maps of annotated characters.

    Args:
        instances: ``gt_instances`` with ``polygons`` and ``chars``, a list of ``(n, 4, 2)`` arrays
            or None; ``char_confidence`` and ``ignored`` are respected if present.
        size: (H, W) of the maps.
        scale: ``(2,)``: pixels of the map for each pixel of the annotation, along x and y.

    Returns:
        ``(2, H, W)`` float32. Words whose characters are unknown leave nothing.
    """
    confidence = instances.get("char_confidence")
    if confidence is None:
        confidence = ~_ignored(instances)
    labels = WordLabels(
        polygons=[polygon * scale for polygon in _polygons(instances)],
        chars=[None if c is None else np.asarray(c, np.float32) * scale for c in instances.chars],
        confidence=_numpy(confidence).astype(np.float32),
        places=places_of(instances.get("texts")),
    )
    maps = draw_score_maps([labels], size)
    return np.stack([maps.region[0].numpy(), maps.affinity[0].numpy()])


def _stride(side: int, cells: int) -> float:
    """Input pixels for each pixel of a map that was cut to `cells` of them over `side` pixels."""
    whole = round(side / cells)
    return float(whole) if whole and math.ceil(side / whole) == cells else side / cells


def _polygons(instances: InstanceData) -> list[np.ndarray]:
    polygons = instances.get("polygons")
    if polygons is not None:
        return [_numpy(polygon).astype(np.float32).reshape(-1, 2) for polygon in polygons]
    boxes = instances.get("bboxes")
    boxes = np.zeros((0, 4)) if boxes is None else _numpy(boxes)
    return [box[[0, 1, 2, 1, 2, 3, 0, 3]].astype(np.float32).reshape(-1, 2) for box in boxes]


def _ignored(instances: InstanceData) -> np.ndarray:
    ignored = instances.get("ignored")
    return np.zeros(len(instances), bool) if ignored is None else _numpy(ignored).astype(bool)


def _numpy(value: object) -> np.ndarray:
    """An array of a tensor on any device, an array, or a list."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
