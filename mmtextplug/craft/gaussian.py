"""CRAFT's ground truth: affinity quads, and Gaussians drawn under the homography of each quad.

The score of a pixel is evaluated directly: its place in the quad's own square by the inverse
homography, then the Gaussian there. No template is warped, nothing is interpolated, and quads that
leave the map are cut by its border, never squeezed into it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmtextplug.craft.gaussian_cpu import CUT
from mmtextplug.geometry import (
    Windows,
    convex_quads,
    diagonal_intersection,
    quad_to_square,
    to_device,
)

# The published shape of the region score: a Gaussian with a standard deviation of 0.6 of the half
# side of a character box, cut off on the ellipse that the box enlarged 1.5 times inscribes. The
# author of CRAFT named the factor 1.5; both together are what the trainer with the best published
# result uses. The score is 0.25 at the middle of a box's side. On 46 images of SynthText the
# official weights' region score differs least from 0.6, too (of 0.4 to 0.7); their affinity score
# from 0.5.
SIGMA = 0.6
ENLARGE = 1.5


def affinity_quads(chars: Tensor, *, word: Tensor | None = None) -> Tensor:
    """Affinity boxes between neighbouring characters of one word (CRAFT paper, section 3.2).

    The diagonals part a character box in four triangles. The corners of an affinity box are the
    centroids of the upper and lower triangles of both neighbours. Characters that follow each
    other downwards or upwards (vertical words, measured in the characters' own axes) give their
    left and right triangles instead: there the upper and lower ones lie on one line and enclose
    no area.

    Args:
        chars (Tensor): ``(N, 4, 2)``, characters in reading order, corners clockwise from each
            character's top left.
        word (Tensor, optional): ``(N,)``, the word of each character, where ``chars`` holds
            several words one after another. Default: all are of one word.

    Returns:
        Tensor: ``(N - W, 4, 2)`` for W words, corners clockwise; a word of one character has none.
    """
    first, second = chars[:-1], chars[1:]
    if word is not None:
        together = word[:-1] == word[1:]
        first, second = first[together], second[together]
    (centre_a, sides_a), (centre_b, sides_b) = _triangles(first), _triangles(second)
    top_a, right_a, bottom_a, left_a = sides_a.unbind(1)
    top_b, right_b, bottom_b, left_b = sides_b.unbind(1)
    step = centre_b - centre_a
    along_x = _projection(step, right_a - left_a + right_b - left_b)
    along_y = _projection(step, bottom_a - top_a + bottom_b - top_b)
    across = torch.stack([top_a, top_b, bottom_b, bottom_a], 1)
    down = torch.stack([left_a, right_a, right_b, left_b], 1)
    # Read leftwards or upwards, the corners would run counter-clockwise: change sides.
    across = torch.where((along_x < 0)[:, None, None], across[:, [1, 0, 3, 2]], across)
    down = torch.where((along_y < 0)[:, None, None], down[:, [3, 2, 1, 0]], down)
    return torch.where((along_y.abs() > along_x.abs())[:, None, None], down, across)


def _triangles(quads: Tensor) -> tuple[Tensor, Tensor]:
    """Centres ``(N, 2)``; centroids ``(N, 4, 2)`` of the top, right, bottom, left triangles."""
    centre = diagonal_intersection(quads)
    return centre, (quads + quads.roll(-1, 1) + centre[:, None]) / 3


def _projection(step: Tensor, axis: Tensor) -> Tensor:
    return (step * axis).sum(1) / axis.norm(dim=1).clamp(min=1e-6)


def drawable_quads(quads: Tensor, size: tuple[int, int], *, enlarge: float = ENLARGE) -> Tensor:
    """Which quads `render_gaussians` draws: convex, clockwise, finite, and touching the map.

    Args:
        quads (Tensor): ``(N, 4, 2)`` in map pixels.
        size (tuple[int, int]): (H, W) of the map.
        enlarge (float): As in `render_gaussians`.

    Returns:
        Tensor: ``(N,)`` bool.
    """
    good = convex_quads(quads)
    centre = diagonal_intersection(quads)[:, None]
    grown = centre + enlarge * (quads - centre)
    low, high = grown.amin(1), grown.amax(1)
    limit = quads.new_tensor([size[1] - 1, size[0] - 1])
    return good & (high >= 0).all(1) & (low <= limit).all(1)


def render_gaussians(
    quads: Tensor,
    size: tuple[int, int],
    *,
    batch_index: Tensor | None = None,
    batch_size: int = 1,
    sigma: float = SIGMA,
    enlarge: float = ENLARGE,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw one Gaussian a quad, merged by maximum (CRAFT paper, section 3.2).

    Args:
        quads (Tensor): ``(N, 4, 2)`` in map pixels, corners clockwise. Quads that are degenerate,
            inverted, not finite or off the map draw nothing (`drawable_quads` tells which).
        size (tuple[int, int]): (H, W) of the maps.
        batch_index (Tensor, optional): ``(N,)``, the map each quad belongs to. Default: map 0.
        batch_size (int): Number of maps.
        sigma (float): Standard deviation, in half sides of the quad.
        enlarge (float): Where the Gaussian is cut off, in half sides of the quad: the ellipse
            inscribed in the quad grown about the meeting point of its diagonals.
        device (torch.device | str, optional): Where to draw; default: where the quads are. With
            quads on the host, drawing on a GPU does not make the host wait.

    Returns:
        Tensor: ``(B, H, W)`` float32 in [0, 1].

    Raises:
        ValueError: If ``batch_index`` has another length than ``quads`` or, on the host, names a
            map that does not exist.
    """
    device = quads.device if device is None else torch.device(device)
    height, width = size
    # Where quads lie, never how they look: positions far apart lose nothing in float64.
    quads = quads.detach()
    if device.type == "cpu":
        quads = quads.cpu()
    quads = quads.double() if quads.device.type == "cpu" else quads.float()
    keep = drawable_quads(quads, size, enlarge=enlarge).nonzero()[:, 0]
    plane = _checked_planes(batch_index, len(quads), batch_size, keep)
    quads = quads[keep]
    centre = diagonal_intersection(quads)
    grown = enlarge * (quads - centre[:, None])
    margin = 1e-3  # pixels right on the cut
    windows = Windows.around(
        centre + grown.amin(1) - margin, centre + grown.amax(1) + margin, (height, width)
    )
    # Rows of the homography about the centre, and the exponent's factor, in the grown square.
    matrix = quad_to_square(grown).flatten(1)
    matrix = matrix / matrix[:, 8:]
    factor = -0.5 * (enlarge / sigma) ** 2
    maps = torch.zeros((batch_size, height, width), device=device)
    draw = _draw_by_loop if device.type == "cpu" else _draw_by_tensors
    draw(maps, matrix, centre, plane, factor, windows)
    return maps


def _checked_planes(
    batch_index: Tensor | None, count: int, batch_size: int, keep: Tensor
) -> Tensor:
    """The maps of the quads kept. The compiled loop checks no index: it would write anywhere."""
    if batch_index is None:
        return torch.zeros_like(keep)
    if batch_index.shape != (count,):
        raise ValueError(
            f"render_gaussians: batch_index has shape {tuple(batch_index.shape)} for {count} quads"
        )
    plane = batch_index.to(keep)
    # On a GPU the question would make the host wait, and its kernels check.
    if plane.device.type == "cpu" and ((plane < 0) | (plane >= batch_size)).any():
        raise ValueError(f"render_gaussians: batch_index names maps beyond batch_size={batch_size}")
    return plane[keep]


def _draw_by_loop(
    maps: Tensor, matrix: Tensor, centre: Tensor, plane: Tensor, factor: float, windows: Windows
) -> None:
    from mmtextplug.craft.gaussian_cpu import draw

    draw(maps.numpy(), matrix.numpy(), centre.numpy(), plane.numpy(), factor, windows)


def _draw_by_tensors(
    maps: Tensor, matrix: Tensor, centre: Tensor, plane: Tensor, factor: float, windows: Windows
) -> None:
    """As `_draw_by_loop`, on any device, while the parameters may still be on the host."""
    (height, width), device, flat = maps.shape[1:], maps.device, maps.view(-1)
    params = to_device(torch.cat([matrix, centre], 1).float(), device)
    plane = to_device(plane, device) * (height * width)
    for index, x, y in windows.pixels(device):
        flat.scatter_reduce_(
            0, plane[index] + y * width + x, _scores(params[index], x, y, factor), "amax"
        )


def _scores(params: Tensor, x: Tensor, y: Tensor, factor: float) -> Tensor:
    """Gaussian scores of pixels ``(P,)``, each under the parameters ``(P, 11)`` of its quad."""
    a, b, c, d, e, f, g, h, i, cx, cy = params.unbind(1)
    x, y = x - cx, y - cy
    weight = g * x + h * y + i
    u, v = (a * x + b * y + c) / weight, (d * x + e * y + f) / weight
    squared = u * u + v * v
    # Behind the quad's horizon (weight <= 0) the mapping mirrors: nothing is drawn there.
    return torch.where((squared <= CUT) & (weight > 0), (factor * squared).exp(), 0.0)
