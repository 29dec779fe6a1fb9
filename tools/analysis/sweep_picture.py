"""The heat map of a sweep over thresholds."""

from __future__ import annotations

import argparse
from io import BytesIO

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw(args: argparse.Namespace, hmeans: np.ndarray, best: tuple[int, ...]) -> bytes:
    """A PNG with a panel of text by link threshold for each low-text threshold."""
    count = len(args.low_text)
    columns = min(count, 4)
    rows = -(-count // columns)
    figure = Figure(figsize=(3.4 * columns + 0.8, 3.0 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    limits = dict(vmin=max(hmeans.max() - 0.15, hmeans.min()), vmax=hmeans.max())
    for index, axis in enumerate(axes):
        if index >= count:
            axis.set_axis_off()
            continue
        image = axis.imshow(hmeans[index], cmap="viridis", origin="lower", aspect="auto", **limits)
        axis.set_title(f"low text {args.low_text[index]:g}", fontsize=10)
        for ticks, labels, values in (
            (axis.set_xticks, axis.set_xlabel, args.text_threshold),
            (axis.set_yticks, axis.set_ylabel, args.link_threshold),
        ):
            ticks(range(len(values)), [f"{value:g}" for value in values], fontsize=8)
            labels("text" if values is args.text_threshold else "link", fontsize=9)
        if index == best[0]:
            axis.plot(best[2], best[1], "r*", markersize=12)
    figure.colorbar(image, ax=axes.tolist(), label=f"hmean at IoU {args.iou_thr:g}", extend="min")
    figure.suptitle("star: the best", fontsize=9, x=0.99, ha="right")
    FigureCanvasAgg(figure)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
