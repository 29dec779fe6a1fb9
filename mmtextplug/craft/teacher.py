"""The network that labels words: a copy of the one in training that follows it slowly, or never."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy

import torch
from mmengine.dist import all_reduce, get_world_size
from torch import Tensor, nn

KINDS = ("ema", "copy", "frozen")


class Teacher(nn.Module):
    """A copy of a detector, without gradients and always in evaluation mode.

    Args:
        student (nn.Module): The detector in training, as it is built; it is not changed. A link
            refiner of it is not copied.
        kind (str): ``'ema'``: moves a share ``momentum`` of the way to the student at each update;
            ``'copy'``: becomes the student; ``'frozen'``: stays.
        momentum (float): In (0, 1].
        interval (int): Training steps from one update to the next.
        start (int): Updates begin after so many training steps.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        student: nn.Module,
        kind: str = "ema",
        momentum: float = 0.001,
        interval: int = 1,
        start: int = 0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"teacher={kind!r} is none of {', '.join(KINDS)}")
        if not 0 < momentum <= 1 or interval < 1 or start < 0:
            raise ValueError(
                f"momentum={momentum} must be in (0, 1], interval={interval} 1 or more and "
                f"start={start} not negative"
            )
        self.module = deepcopy(student).requires_grad_(False).eval()
        head = getattr(self.module, "det_head", None)
        if getattr(head, "link_refiner", None) is not None:
            head.link_refiner = None  # labels need region scores alone
        self.kind, self.interval, self.start = kind, interval, start
        self.momentum = 1.0 if kind == "copy" else momentum

    def train(self, mode: bool = True) -> Teacher:
        """Stays in evaluation mode: its BatchNorm statistics come from the student alone."""
        return super().train(False)

    @torch.no_grad()
    def become(self, student: nn.Module) -> None:
        """Take over all parameters and buffers of the student."""
        self._move(student, 1.0)

    @torch.no_grad()
    def follow(self, student: nn.Module, step: int) -> None:
        """Update after training step ``step``, counted from 1, if it is time for one.

        In distributed training all processes have to call it together: BatchNorm statistics, which
        each process collects for itself unless they are synchronised, are averaged, so that the
        teachers stay equal.
        """
        if self.kind == "frozen" or step <= self.start or (step - self.start) % self.interval:
            return
        self._move(student, self.momentum)

    def _move(self, student: nn.Module, share: float) -> None:
        learning = dict(student.named_parameters())
        own = list(self.module.parameters())
        theirs = [
            learning[name].detach().to(q.device) for name, q in self.module.named_parameters()
        ]
        following = dict(student.named_buffers())
        statistics, counters = _split(self.module.buffers(), Tensor.is_floating_point)
        sources, counts = _split(
            (following[name] for name, _ in self.module.named_buffers()), Tensor.is_floating_point
        )
        if share == 1:
            torch._foreach_copy_(own, theirs) if hasattr(torch, "_foreach_copy_") else [
                p.copy_(q) for p, q in zip(own, theirs)
            ]
        else:
            # p + share * (q - p), for all parameters at once.
            difference = torch._foreach_sub(theirs, own)
            torch._foreach_add_(own, difference, alpha=share)
        for mine, source in zip(statistics, _averaged(sources)):
            mine.lerp_(source.to(mine.device, mine.dtype), share)
        for mine, source in zip(counters, counts):
            mine.copy_(source)

    @torch.no_grad()
    def region(self, crops: Tensor, amp: torch.dtype | None = None) -> Tensor:
        """Region scores of a batch of images, as the detector's preprocessor prepares them.

        Args:
            crops (Tensor): ``(N, 3, H, W)``; sides are multiples of 32.
            amp (torch.dtype, optional): Run under autocast to this type.

        Returns:
            Tensor: ``(N, H / stride, W / stride)`` float32.
        """
        # Crops come in ever new shapes: trying out algorithms for each does not pay.
        benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        try:
            return self._region(crops, amp)
        finally:
            torch.backends.cudnn.benchmark = benchmark

    def _region(self, crops: Tensor, amp: torch.dtype | None) -> Tensor:
        with torch.autocast(
            crops.device.type, dtype=amp or torch.bfloat16, enabled=amp is not None
        ):
            maps = self.module.det_head(self.module.extract_feat(crops))
        return maps[:, 0].float()


def _split(tensors: Iterator[Tensor], first: Callable) -> tuple[list[Tensor], list[Tensor]]:
    tensors = list(tensors)
    return [t for t in tensors if first(t)], [t for t in tensors if not first(t)]


def _averaged(tensors: list[Tensor]) -> list[Tensor]:
    """Each tensor's mean over all processes, by one exchange."""
    if get_world_size() == 1 or not tensors:
        return tensors
    flat = torch.cat([t.detach().flatten().float() for t in tensors])
    all_reduce(flat, "mean")
    parts = flat.split([t.numel() for t in tensors])
    return [part.view_as(t) for part, t in zip(parts, tensors)]
