"""The CRAFT text detector as an MMOCR model."""

from __future__ import annotations

from mmengine.registry import MODELS
from mmocr.models.textdet.detectors.single_stage_text_detector import SingleStageTextDetector

from mmtextplug.craft.official_names import official_to_ours


@MODELS.register_module()
class CRAFT(SingleStageTextDetector):
    """Character Region Awareness for Text Detection (Baek et al., CVPR 2019).

    A backbone, a decoder (``neck``) and a head. Checkpoints with the names of the official
    release load like its own ones, also as ``load_from`` or in a test command.

    Args:
        frozen (bool): Whether only the head's link refiner learns. All else keeps its parameters
            and its batch normalisation's statistics, also in training mode.
        *args, **kwargs: See MMOCR's ``SingleStageTextDetector``.

    Raises:
        ValueError: If nothing could learn, or nothing would hold CRAFT's own scores in place.
    """

    def __init__(self, *args, frozen: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        refiner = getattr(self.det_head, "link_refiner", None)
        loss = getattr(self.det_head, "module_loss", None)
        if frozen and refiner is None:
            raise ValueError(
                "CRAFT: frozen=True leaves nothing to train: set "
                "det_head.link_refiner=dict(type='LinkRefiner'), or frozen=False"
            )
        if frozen and getattr(loss, "craft_loss", None) is not None:
            raise ValueError(
                "CRAFT: frozen=True and module_loss.craft_loss contradict each other: leave one out"
            )
        if not frozen and getattr(loss, "craft_loss", self) is None:
            raise ValueError(
                "CRAFT: LinkRefinerModuleLoss alone would spoil the region and affinity scores: "
                "set model.frozen=True, or module_loss.craft_loss=dict(type='CRAFTModuleLoss')"
            )
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)
            refiner.requires_grad_(True)

    def train(self, mode: bool = True) -> CRAFT:
        super().train(mode)
        if self.frozen and mode:
            for part in self.children():
                part.eval()
            self.det_head.link_refiner.train()
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        official_to_ours(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
