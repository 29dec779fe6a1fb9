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
    """

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        official_to_ours(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
