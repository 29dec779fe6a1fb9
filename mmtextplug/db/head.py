"""The head of DBNet: probability and threshold maps, and the binary map that joins them."""

from __future__ import annotations

import torch
from mmengine.registry import MODELS
from mmocr.models.textdet.heads import DBHead
from mmocr.structures import TextDetDataSample
from torch import Tensor, nn


@MODELS.register_module()
class DifferentiableBinarizationHead(DBHead):
    """MMOCR's ``DBHead``, for features of any stride, whose predictions keep the threshold map.

    Two branches of a 3x3 convolution and two transposed convolutions give the probability P and
    the threshold T; the binary map is B = sigmoid(k (P - T)) (Liao et al., AAAI 2020, eq. 2). At
    ``upsample=4`` the parameters are those of ``DBHead``, so that its checkpoints load.

    Args:
        in_channels (int): Channels of the features.
        module_loss (dict): Such as ``dict(type='DifferentiableBinarizationLoss')``; MMOCR's
            ``DBModuleLoss`` works as well.
        postprocessor (dict): Such as ``dict(type='DifferentiableBinarizationPostprocessor')``. One
            whose ``uses_threshold`` is true is given P and T, (2, H, W) an image; any other, such
            as MMOCR's, P alone, and the threshold branch is not computed.
        upsample (int): How much larger than the features the maps are: 4 as published, for
            features of stride 4; 2 or 1 for features of stride 2, such as CRAFT's decoder gives,
            or 1. Transposed convolutions that are not needed become 3x3 convolutions.
        k (float): Steepness of the binary map that the loss is given.
        with_bias (bool): Whether the first convolution of the probability branch has a bias.
        init_cfg (dict | list[dict], optional): Default: PyTorch's own initialisation, which is
            what ``DBHead`` comes to: the layer names of its ``init_cfg`` fit no layer.

    Raises:
        ValueError: If ``upsample`` is none of 4, 2 and 1.
    """

    def __init__(
        self,
        in_channels: int,
        module_loss: dict,
        postprocessor: dict,
        upsample: int = 4,
        k: float = 50,
        with_bias: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        if upsample not in (4, 2, 1):
            raise ValueError(
                f"DifferentiableBinarizationHead: upsample must be 4, 2 or 1, got {upsample!r}"
            )
        super().__init__(
            in_channels=in_channels,
            with_bias=with_bias,
            module_loss=module_loss,
            postprocessor=postprocessor,
            init_cfg=init_cfg,
        )
        self.k = k
        # The first goes first: whatever grows still grows at the end.
        for index in {4: (), 2: (3,), 1: (3, 6)}[upsample]:
            for branch in (self.binarize, self.threshold):
                old = branch[index]
                branch[index] = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1)

    def _diff_binarize(self, prob_map: Tensor, thr_map: Tensor, k: float) -> Tensor:
        # exp(-k (P - T)), as it is usually written, overflows in half precision.
        return torch.sigmoid(k * (prob_map - thr_map))

    def forward(
        self,
        img: Tensor,
        data_samples: list[TextDetDataSample] | None = None,
        mode: str = "predict",
    ) -> Tensor | tuple[Tensor, ...]:
        """Maps of a batch, ``upsample`` times as large as its features.

        Args:
            img (Tensor): Features, ``(N, in_channels, H / upsample, W / upsample)``.
            data_samples (list[TextDetDataSample], optional): Not used.
            mode (str): What to return.

        Returns:
            Tensor | tuple[Tensor, ...]: With ``mode='predict'``, P and T as one tensor
            ``(N, 2, H, W)``, or P alone ``(N, H, W)``, as the post-processor uses it; with
            ``'loss'``, the logits of P, T and B, each ``(N, H, W)``; with ``'both'``, these three
            and the tensor of ``'predict'``.

        Raises:
            ValueError: If ``mode`` is none of these.
        """
        if mode not in ("loss", "predict", "both"):
            raise ValueError(f"mode must be 'loss', 'predict' or 'both', got {mode!r}")
        logits = self.binarize(img).squeeze(1)
        probability = self.sigmoid(logits)
        alone = not getattr(self.postprocessor, "uses_threshold", False)
        if mode == "predict" and alone:
            return probability
        threshold = self.threshold(img).squeeze(1)
        predicted = probability if alone else torch.stack([probability, threshold], dim=1)
        if mode == "predict":
            return predicted
        binary = self._diff_binarize(probability, threshold, self.k)
        if mode == "loss":
            return logits, threshold, binary
        return logits, threshold, binary, predicted
