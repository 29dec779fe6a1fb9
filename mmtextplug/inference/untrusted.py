"""What in settings of unknown origin must not be built, found without building or importing it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS, TASK_UTILS, TRANSFORMS, WEIGHT_INITIALIZERS, Registry

from mmtextplug.compat import UpstreamError, import_upstream

# Of OpenMMLab's classes those by which text detectors are made. Many of the others load, when they
# are built, files that their settings name, by which code runs (distillation: a teacher's
# checkpoint), or evaluate text. These have been read: none of them does.
_PARTS = (
    *("mmcv.cnn.bricks.", "mmcv.ops.", "mmcv.transforms."),
    *("mmengine.model.base_model.", "mmengine.model.weight_init.", "mmengine.utils.dl_utils."),
    *("mmocr.models.", "mmocr.datasets.transforms."),
    *("mmdet.models.backbones.", "mmdet.models.necks.", "mmdet.models.roi_heads."),
    *("mmdet.models.layers.", "mmdet.models.losses.", "mmdet.models.data_preprocessors."),
    *("mmdet.models.dense_heads.rpn_head.", "mmdet.models.dense_heads.cascade_rpn_head."),
    *(f"mmdet.models.task_modules.{kind}." for kind in ("assigners", "coders", "samplers")),
    "mmdet.models.task_modules.prior_generators.",
    *(f"mmdet.models.detectors.{kind}." for kind in ("faster_rcnn", "mask_rcnn", "cascade_rcnn")),
    *(f"mmdet.datasets.transforms.{kind}." for kind in ("formatting", "transforms")),
)
# Evaluated text, and classes of other packages by any name.
_NOT = {"ConditionApply", "ImgAugWrapper", "TorchVisionWrapper", "Albu"}
# Of MMCV's operators, which no registry is asked for.
_OPERATORS = {
    "nms": ("nms", "soft_nms", "nms_match", "nms_rotated", "nms_quadri"),
    "roi_layer": ("RoIAlign", "RoIAlignRotated", "RoIPool", "SimpleRoIAlign"),
}
_UPSTREAM = {*MODULE2PACKAGE, "mmcv", "mmengine"}


def untrusted(settings: object) -> Iterator[tuple[str, str]]:
    """What must not be built in the settings of a model or of transforms, and why.

    ``Registry.get`` imports, and calls, whatever a type names that it does not know, with dots
    (``subprocess.Popen``) and without (a module); scopes are imported, too. So no registry is asked
    for them, and but for the packages of OpenMMLab nothing is imported. Classes of others that are
    registered were imported by the user, who trusts them.

    Args:
        settings (object): Dicts, lists and tuples of settings, as deep as need be.

    Yields:
        tuple[str, str]: Where, and the reason: as ``("model.neck[0].type", "'os.system' is not
        registered")``.
    """
    for where, key, name in _names(settings, ""):
        if key != "type":
            if name is not None and not (isinstance(name, str) and any(_registries(name))):
                yield where, f"{name!r} is no scope of a registry"
            continue
        parent = where.removesuffix(".type").rpartition(".")[2]
        if name in _OPERATORS.get(parent, ()):
            continue
        found = list(_named(name))
        if not found:
            yield where, f"{name!r} is not registered"
        elif not all(map(_is_part, found)):
            yield where, f"{name!r} is no part of a text detector"


def _named(name: object) -> Iterator[type]:
    """All classes and functions that a type may mean, by scope."""
    if isinstance(name, str):
        scope, dot, item = name.rpartition(".")
        for registry in _registries(scope if dot else None):
            if item in registry.module_dict:
                yield registry.module_dict[item]


def _is_part(item: type) -> bool:
    module = item.__module__
    if module.partition(".")[0] not in _UPSTREAM:
        return True
    return f"{module}.".startswith(_PARTS) and item.__name__ not in _NOT


def _registries(scope: str | None) -> Iterator[Registry]:
    """Those of what models and pipelines have, of a scope; of all scopes if it is None."""
    if scope in MODULE2PACKAGE:
        with contextlib.suppress(UpstreamError):
            import_upstream(f"{scope}.registry")
    nodes = [MODELS, TASK_UTILS, TRANSFORMS, WEIGHT_INITIALIZERS]
    while nodes:
        node = nodes.pop()
        nodes.extend(node.children.values())
        if scope in (None, node.scope):
            yield node


def _names(value: object, where: str) -> Iterator[tuple[str, str, object]]:
    if isinstance(value, dict):
        for key, item in value.items():
            inner = f"{where}.{key}" if where else str(key)
            if key in ("type", "default_scope", "_scope_"):
                yield inner, key, item
            yield from _names(item, inner)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _names(item, f"{where}[{index}]")
