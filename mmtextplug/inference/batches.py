"""Which images share a batch."""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(
    sizes: Sequence[tuple[int, int]],
    batch_size: int,
    *,
    step: int = 32,
    max_waste: float = 0.0,
    max_pixels: float = float("inf"),
) -> list[list[int]]:
    """Put images of like sizes into batches, so that little of a batch is padding.

    Args:
        sizes (Sequence[tuple[int, int]]): ``(height, width)`` of each in pixels.
        batch_size (int): How many images share a batch at most.
        step (int): A batch is as high and as wide as its highest and widest image, rounded up to a
            multiple of this. Images that are alike after that are padded as they are alone: their
            scores are the same, batched or not.
        max_waste (float): Which share of a batch may be padding beyond that, in [0, 1).
        max_pixels (float): Pixels of a batch at most, if there is more than one image in it.

    Returns:
        list[list[int]]: Indices of images; each is in one batch, and in order within it.
    """
    padded = [tuple(-(-side // step) * step for side in size) for size in sizes]
    batches: list[list[int]] = []
    # Neighbours in this order have the same height, or nearly; a batch ends where one does not fit.
    for index in sorted(range(len(sizes)), key=lambda i: (padded[i], i)):
        if batches:
            grown = [*batches[-1], index]
            area = max(padded[i][0] for i in grown) * max(padded[i][1] for i in grown)
            own = sum(padded[i][0] * padded[i][1] for i in grown)
            waste = 1 - own / (area * len(grown))
            if len(grown) <= batch_size and waste <= max_waste and area * len(grown) <= max_pixels:
                batches[-1] = grown
                continue
        batches.append([index])
    return [sorted(batch) for batch in batches]
