"""The parameter names of the published checkpoints of CRAFT and its link refiner, and ours."""

from __future__ import annotations

import re

from torch import Tensor

# Official name -> ours. The indices inside the blocks are the same.
_RENAMES = (
    (re.compile(r"^basenet\.slice[1-4]\."), "backbone.features."),
    (re.compile(r"^basenet\.slice5\."), "backbone.slice5."),
    (re.compile(r"^upconv([1-4])\.conv\."), lambda m: f"neck.blocks.{int(m[1]) - 1}."),
    (re.compile(r"^conv_cls\."), "det_head.conv_cls."),
    (re.compile(r"^last_conv\."), "det_head.link_refiner.last_conv."),
    (re.compile(r"^aspp([1-4])\."), lambda m: f"det_head.link_refiner.aspp.{int(m[1]) - 1}."),
)


def official_to_ours(state_dict: dict[str, Tensor], prefix: str = "") -> None:
    """Rename the official parameter names in a state dict in place; others stay as they are."""
    for key in list(state_dict):
        if not key.startswith(prefix):
            continue
        for pattern, ours in _RENAMES:
            name, found = pattern.subn(ours, key[len(prefix) :])
            if found:
                state_dict[prefix + name] = state_dict.pop(key)
                break
