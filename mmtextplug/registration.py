"""The table of everything that registers with OpenMMLab, and the one function that works it off.

A component goes into MMEngine's root registry, where a bare `type='Name'` finds it from the scope
of any OpenMMLab package. When what a component needs is not installed, a placeholder takes its
name and says so to whoever asks for it, so that half an installation still works.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import NamedTuple

from .compat import UpstreamError, explain, import_upstream

__all__ = ["COMPONENTS", "Component", "Outcome", "register_all", "register_missing"]


class Component(NamedTuple):
    """A module whose import registers components; one row for each registry it serves.

    Attributes:
        module: Its name below `mmtextplug`.
        registry: The registry of `mmengine.registry` that its components go into.
        names: The types it registers there.
        needs: The upstream modules that it cannot be imported without.
    """

    module: str
    registry: str
    names: tuple[str, ...]
    needs: tuple[str, ...] = ("mmengine",)


class Outcome(NamedTuple):
    """What became of a component: registered, or missing for the reason in `error`."""

    component: Component
    error: UpstreamError | None


_TRANSFORMS = ("mmengine", "mmcv")
_MMOCR_MODEL = ("mmocr.models",)
_MMOCR_DATA = ("mmocr.datasets",)
_MMDET_MODEL = ("mmdet.models",)
_MMDET_METRIC = ("mmdet.evaluation",)

COMPONENTS = (
    Component("craft.efficientnet_lite", "MODELS", ("EfficientNetLite0",)),
    Component("craft.vgg", "MODELS", ("CRAFTVGG16BN",)),
    Component("craft.decoder", "MODELS", ("CRAFTDecoder",)),
    Component("craft.detector", "MODELS", ("CRAFT",), _MMOCR_MODEL),
    Component("craft.head", "MODELS", ("CRAFTHead",), _MMOCR_MODEL),
    Component("craft.link_loss", "MODELS", ("LinkRefinerModuleLoss",), _MMOCR_MODEL),
    Component("craft.link_refiner", "MODELS", ("LinkRefiner",)),
    Component("craft.loss", "MODELS", ("CRAFTModuleLoss",), _MMOCR_MODEL),
    Component("craft.pseudo_labels", "HOOKS", ("PseudoCharLabelHook",)),
    Component("craft.postprocessor", "MODELS", ("CRAFTPostprocessor",), _MMOCR_MODEL),
    Component("craft.targets", "TRANSFORMS", ("GaussianCharLabels",), _TRANSFORMS),
    Component("datasets.char_text", "DATASETS", ("CharTextDataset",)),
    Component("datasets.generated_text", "DATASETS", ("GeneratedTextDataset",)),
    Component("datasets.seeded", "DATASETS", ("SeededDataset",)),
    Component("datasets.seeded", "DATA_SAMPLERS", ("SeededInfiniteSampler",)),
    Component("datasets.synthtext", "DATASETS", ("SynthTextDataset",)),
    Component("datasets.transforms.loading", "TRANSFORMS", ("LoadCharAnnotations",), _TRANSFORMS),
    Component("datasets.transforms.packing", "TRANSFORMS", ("PackCharInputs",), _MMOCR_DATA),
    Component(
        "datasets.transforms.warp", "TRANSFORMS", ("RandomTextWarp", "ResizeLongSide"), _TRANSFORMS
    ),
    Component("db.backbone", "MODELS", ("DeformableResNet",), _MMDET_MODEL),
    Component("db.head", "MODELS", ("DifferentiableBinarizationHead",), _MMOCR_MODEL),
    Component("db.labels", "TRANSFORMS", ("DifferentiableBinarizationLabels",), _TRANSFORMS),
    Component("db.loss", "MODELS", ("DifferentiableBinarizationLoss",), _MMOCR_MODEL),
    Component(
        "db.pixel_losses",
        "MODELS",
        ("BatchDiceLoss", "MaskedFocalWithLogitsLoss", "MaskedL1Loss", "MinedBCEWithLogitsLoss"),
    ),
    Component(
        "db.postprocessor", "MODELS", ("DifferentiableBinarizationPostprocessor",), _MMOCR_MODEL
    ),
    Component("evaluation.grouped_voc", "METRICS", ("GroupedVOCMetric",), _MMDET_METRIC),
    Component(
        "evaluation.protocol_metrics", "METRICS", ("CLEvalMetric", "DetEvalMetric", "TIoUMetric")
    ),
    Component("evaluation.text_metrics", "METRICS", ("HmeanMetric",)),
    Component("mining.assigner", "TASK_UTILS", ("RegionAwareMaxIoUAssigner",), _MMDET_MODEL),
    Component("mining.ohem_sampler", "TASK_UTILS", ("RoIOHEMSampler",), _MMDET_MODEL),
    Component(
        "mining.roi_heads",
        "MODELS",
        (
            "MiningStandardRoIHead",
            "MiningDoubleHeadRoIHead",
            "MiningDynamicRoIHead",
            "MiningPointRendRoIHead",
            "MiningCascadeRoIHead",
            "MiningHybridTaskCascadeRoIHead",
            "MiningSCNetRoIHead",
        ),
        _MMDET_MODEL,
    ),
    Component("mining.s_ohem_hook", "HOOKS", ("StratifiedOHEMHook",), _MMDET_MODEL),
    Component("mining.s_ohem_sampler", "TASK_UTILS", ("StratifiedOHEMSampler",), _MMDET_MODEL),
    Component("visualization.score_maps", "VISUALIZERS", ("ScoreMapVisualizer",), _TRANSFORMS),
)

# A module of ours that fails to import because of one of these is a matter of installation;
# any other failure is a defect, and has to be seen.
_UPSTREAM = {"torch", "torchvision", "mmengine", "mmcv", "mmdet", "mmocr"}


class _Placeholder:
    """Stands in for a component; `reason` is set in the class made for each."""

    reason: str

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise UpstreamError(f"{type(self).__name__} is not available: {self.reason}")


def register_missing(names: Iterable[str], registry: str, reason: str) -> None:
    """Registers placeholders whose construction raises `UpstreamError` with the reason.

    Names that are registered already stay as they are; without MMEngine there is nothing to
    register with, and nothing is done.

    Args:
        names: The types to stand in for.
        registry: Name of a registry of `mmengine.registry`, such as `'MODELS'`.
        reason: One line: what is missing and what to install.
    """
    try:
        root = getattr(import_upstream("mmengine.registry"), registry)
    except UpstreamError:
        return
    for name in names:
        if name not in root.module_dict:
            stand_in = type(name, (_Placeholder,), {"reason": reason, "__module__": __name__})
            root.register_module(name=name, module=stand_in)


def register_all(components: Iterable[Component]) -> list[Outcome]:
    """Imports every component that can be imported and puts placeholders in for the others.

    Args:
        components: What to import.

    Returns:
        What became of each, in order.

    Raises:
        Exception: Whatever a module of this package raises when it is imported, unless the cause
            is an upstream package that is missing, too old or broken.
    """
    failed: dict[str, UpstreamError] = {}
    outcomes = []
    for component in components:
        error = _import(component, failed)
        if error is not None:
            register_missing(component.names, component.registry, str(error))
        outcomes.append(Outcome(component, error))
    return outcomes


def _import(component: Component, failed: dict[str, UpstreamError]) -> UpstreamError | None:
    for need in component.needs:
        # A broken package may take seconds to fail: ask once.
        if need not in failed:
            try:
                import_upstream(need)
                continue
            except UpstreamError as error:
                failed[need] = error
        return failed[need]
    try:
        importlib.import_module(f"mmtextplug.{component.module}")
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _UPSTREAM:
            raise
        return explain(error.name or "", error)
    return None
