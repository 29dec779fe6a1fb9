"""Random RoIs for property tests, in the form of the literal implementation and of tensors."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from mmtextplug.mining.roi_losses import RoILosses
from mmtextplug.mining.roi_select import Candidates

NAN, INF = float("nan"), float("inf")
CLASSES = 2
# Sums of these and their products with the weights of the tests are exact: ties stay ties.
VALUES = [0.0, 0.25, 0.5, 1.0, 1.0, 2.0, 3.5]


@st.composite
def batches(draw: st.DrawFn, *, values=None, images=(1, 3), most: int = 10) -> list[list[dict]]:
    """Images of RoIs, some of them without a single one, of foreground or background only."""
    values = values or st.sampled_from([*VALUES, *VALUES, NAN, INF])
    corner, size = st.integers(0, 3), st.integers(0, 8)
    batch = []
    for _ in range(draw(st.integers(*images))):
        kinds = draw(st.sampled_from([(True, False), (True, False), (True,), (False,)]))
        image = []
        for _ in range(draw(st.integers(0, most))):
            x, y = draw(corner), draw(corner)
            fg = draw(st.sampled_from(kinds))
            image.append(
                dict(
                    box=[float(x), float(y), float(x + draw(size)), float(y + draw(size))],
                    label=draw(st.integers(0, CLASSES - 1)) if fg else CLASSES,
                    fg=fg,
                    cls=draw(values),
                    loc=draw(values) if fg else 0.0,
                )
            )
        batch.append(image)
    return batch


def tensors(batch: list[list[dict]]) -> tuple[Candidates, RoILosses]:
    flat = [roi for image in batch for roi in image]

    def column(key: str, dtype=torch.float32) -> Tensor:
        return torch.tensor([roi[key] for roi in flat], dtype=dtype)

    rois = Candidates(
        boxes=column("box").view(-1, 4),
        labels=column("label", torch.long),
        foreground=column("fg", torch.bool),
        sizes=tuple(len(image) for image in batch),
    )
    return rois, RoILosses(column("cls"), column("loc"))


def pairs(rois: Candidates, mask: Tensor) -> set[tuple[int, int]]:
    """A mask as the literal implementation tells it."""
    assert mask.dtype == torch.bool
    return {
        (n, i)
        for n, part in enumerate(mask.split(rois.sizes))
        for i in part.nonzero()[:, 0].tolist()
    }
