"""Gaussians against a pixel-by-pixel reference, affinity quads against hand-computed ones."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmtextplug.craft import gaussian
from mmtextplug.craft.gaussian import affinity_quads, drawable_quads, render_gaussians

EDGE = math.exp(-0.5 / 0.36)  # at the middle of a box's side, with a sigma of 0.6 half sides
CORNER = math.exp(-1 / 0.36)


def box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def draw_both(quads, size, **kwargs):
    """The maps by the CPU's loop and by the tensor operations that other devices use."""
    loop = render_gaussians(quads, size, **kwargs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gaussian, "_draw_by_loop", gaussian._draw_by_tensors)
        tensors = render_gaussians(quads, size, **kwargs)
    torch.testing.assert_close(loop, tensors, atol=1e-5, rtol=0)
    return loop


def literal_maps(quads, size, planes, batch, sigma, enlarge):
    """Every pixel through OpenCV's homography of the enlarged quad; and where rounding decides."""
    maps = np.zeros((batch, *size))
    doubtful = np.zeros((batch, *size), dtype=bool)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    for quad, plane in zip(np.asarray(quads, np.float64), planes, strict=False):
        (p0, p1, p2, p3) = quad
        along = np.linalg.solve(np.stack([p2 - p0, p1 - p3], 1), p1 - p0)[0]
        centre = p0 + along * (p2 - p0)
        grown = (enlarge * (quad - centre)).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(grown, square)
        for y in range(size[0]):
            for x in range(size[1]):
                if not (
                    grown[:, 0].min() - 1 <= x - centre[0] <= grown[:, 0].max() + 1
                    and grown[:, 1].min() - 1 <= y - centre[1] <= grown[:, 1].max() + 1
                ):
                    continue
                u, v, w = matrix @ [x - centre[0], y - centre[1], 1]
                if w <= 0:
                    continue
                radius = math.hypot(u / w, v / w)
                doubtful[plane, y, x] |= abs(radius - 1) < 1e-4
                if radius <= 1:
                    score = math.exp(-0.5 * (radius * enlarge / sigma) ** 2)
                    maps[plane, y, x] = max(maps[plane, y, x], score)
    return maps, doubtful


@st.composite
def convex_quads_anywhere(draw: st.DrawFn) -> list[list[float]]:
    """Corners on a rotated ellipse: convex, clockwise, of any slant and perspective."""

    def number(low, high):
        return draw(st.floats(low, high, allow_nan=False))

    angles = np.radians([-135, -45, 45, 135]) + [number(-0.6, 0.6) for _ in range(4)]
    local = np.stack([np.cos(angles), np.sin(angles)], 1) * [number(1.5, 9), number(1.5, 9)]
    turn = number(-3.2, 3.2)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return (local @ rotation + [number(-5, 29), number(-5, 21)]).tolist()


# --- scores ------------------------------------------------------------------------------------


def test_scores_of_a_square_by_hand():
    maps = draw_both(torch.tensor([box(10, 10, 30, 30)], dtype=torch.float32), (41, 41))
    assert maps.shape == (1, 41, 41)
    assert maps.dtype == torch.float32
    score = maps[0]
    assert score[20, 20] == 1
    for y, x in ((20, 30), (20, 10), (10, 20), (30, 20)):
        assert score[y, x].item() == pytest.approx(EDGE, abs=1e-6)
    for y, x in ((10, 10), (10, 30), (30, 30), (30, 10)):
        assert score[y, x].item() == pytest.approx(CORNER, abs=1e-6)
    assert (round(EDGE, 4), round(CORNER, 3)) == (0.2494, 0.062)
    # Half way out, and the last and first pixels around the cut at 1.5 half sides.
    assert score[20, 25].item() == pytest.approx(math.exp(-0.125 / 0.36), abs=1e-6)
    assert score[20, 34].item() == pytest.approx(math.exp(-0.5 * 1.4**2 / 0.36), abs=1e-6)
    assert score[20, 36] == 0
    # Right on the cut, where rounding must not decide: 15 = |(12, 9)| = |(15, 0)|.
    for y, x in ((20, 35), (35, 20), (29, 32), (8, 11)):
        assert score[y, x].item() == pytest.approx(math.exp(-3.125), abs=1e-5)
    assert score[20, 4] == 0
    assert score[5, 5] == 0


def test_a_circle_not_a_square_is_cut_out():
    score = draw_both(torch.tensor([box(10, 10, 30, 30)], dtype=torch.float32), (41, 41))[0]
    y, x = np.mgrid[:41, :41]
    radius = np.hypot(y - 20, x - 20)
    assert (score.numpy()[radius > 15.001] == 0).all()
    assert (score.numpy()[radius <= 15] >= math.exp(-3.125) - 1e-6).all()


def test_a_box_between_pixels_and_of_unequal_sides():
    score = draw_both(torch.tensor([box(2.5, 3, 6.5, 9)], dtype=torch.float32), (13, 11))[0]
    # Centre (4.5, 6), half sides 2 and 3.
    for y, x in ((6, 4), (6, 5), (8, 4), (9, 6), (3, 3)):
        squared = ((x - 4.5) / 2) ** 2 + ((y - 6) / 3) ** 2
        assert score[y, x].item() == pytest.approx(math.exp(-0.5 * squared / 0.36), abs=1e-6)


def test_other_deviations_and_cuts():
    quads = torch.tensor([box(10, 10, 30, 30)], dtype=torch.float32)
    score = draw_both(quads, (41, 41), sigma=0.5, enlarge=1.0)[0]
    assert score[20, 29].item() == pytest.approx(math.exp(-0.5 * 0.9**2 / 0.25), abs=1e-6)
    assert score[20, 31] == 0


@settings(max_examples=25, deadline=None)
@given(
    quads=st.lists(convex_quads_anywhere(), min_size=1, max_size=3),
    planes=st.lists(st.integers(0, 1), min_size=3, max_size=3),
    shape=st.sampled_from([(0.6, 1.5), (0.5, 1.0), (0.7, 2.0)]),
)
def test_equals_the_pixel_by_pixel_reference(quads, planes, shape):
    size, (sigma, enlarge) = (16, 24), shape
    planes = planes[: len(quads)]
    maps = draw_both(
        torch.tensor(quads, dtype=torch.float64),
        size,
        batch_index=torch.tensor(planes),
        batch_size=2,
        sigma=sigma,
        enlarge=enlarge,
    ).numpy()
    expected, doubtful = literal_maps(quads, size, planes, 2, sigma, enlarge)
    np.testing.assert_allclose(maps[~doubtful], expected[~doubtful], atol=1e-5)
    assert maps.min() >= 0
    assert maps.max() <= 1


def test_overlapping_gaussians_merge_by_maximum():
    first = torch.tensor([box(4, 4, 20, 20)], dtype=torch.float32)
    second = torch.tensor([box(12, 6, 30, 18)], dtype=torch.float32)
    apart = torch.maximum(render_gaussians(first, (24, 36)), render_gaussians(second, (24, 36)))
    together = draw_both(torch.cat([first, second]), (24, 36))
    assert torch.equal(together, apart)
    assert torch.equal(draw_both(torch.cat([second, first]), (24, 36)), apart)
    # Twice the same adds nothing.
    assert torch.equal(
        draw_both(torch.cat([first] * 3), (24, 36))[0], render_gaussians(first, (24, 36))[0]
    )


def test_each_quad_goes_to_the_map_it_belongs_to():
    quads = torch.tensor([box(2, 2, 8, 8), box(10, 2, 16, 8), box(3, 3, 9, 9)], dtype=torch.float32)
    maps = draw_both(quads, (12, 20), batch_index=torch.tensor([2, 0, 2]), batch_size=4)
    assert maps.shape == (4, 12, 20)
    assert torch.equal(maps[0], render_gaussians(quads[1:2], (12, 20))[0])
    assert torch.equal(maps[2], render_gaussians(quads[[0, 2]], (12, 20))[0])
    assert maps[1].abs().sum() == 0
    assert maps[3].abs().sum() == 0


@pytest.mark.parametrize("index", [[0, 2], [-1, 0], [0], [0, 0, 0]])
def test_maps_that_do_not_exist_are_refused(index):
    # The compiled loop would write into memory that is not its own.
    quads = torch.tensor([box(2, 2, 8, 8), box(2, 2, 8, 8)], dtype=torch.float32)
    with pytest.raises(ValueError, match="batch_index"):
        render_gaussians(quads, (12, 12), batch_index=torch.tensor(index), batch_size=2)


@settings(max_examples=40, deadline=None)
@given(st.lists(convex_quads_anywhere(), min_size=1, max_size=4))
@example([box(-7, -6, 3, 4)])
@example([box(20, 12, 40, 30)])
def test_the_border_cuts_and_never_squeezes(quads):
    quads = torch.tensor(quads, dtype=torch.float64)
    large = render_gaussians(quads + 40, (100, 110))
    small = draw_both(quads, (18, 25))
    torch.testing.assert_close(small, large[:, 40:58, 40:65], atol=1e-6, rtol=0)


def test_a_giant_quad_covers_the_map():
    quads = torch.tensor([box(-1e4, -1e4, 1e4, 1e4)])
    assert draw_both(quads, (6, 7)).min() > 0.999


BAD = {
    "inverted": box(2, 2, 8, 8)[::-1],
    "self-crossing": [[2, 2], [8, 8], [8, 2], [2, 8]],
    "a point": [[5, 5]] * 4,
    "a line": [[2, 5], [5, 5], [8, 5], [6, 5]],
    "a triangle": [[2, 2], [5, 2], [8, 2], [5, 8]],
    "dented": [[2, 2], [8, 2], [4, 4], [2, 8]],
    "NaN": [[2, 2], [8, 2], [8, float("nan")], [2, 8]],
    "infinite": [[2, 2], [float("inf"), 2], [8, 8], [2, 8]],
    "far right": box(1e6, 2, 1e6 + 6, 8),
    "far left": box(-1e30, 2, -0.9e30, 8),
    "just off": box(-10, 2, -2.1, 8),  # reaches to -0.125 once it is enlarged
}


@pytest.mark.parametrize("name", BAD)
def test_quads_of_no_use_draw_nothing_and_disturb_nobody(name):
    good = box(1, 1, 7, 9)
    quads = torch.tensor([BAD[name], good, BAD[name]], dtype=torch.float32)
    alone = render_gaussians(quads[1:2], (12, 12))
    assert drawable_quads(quads, (12, 12)).tolist() == [False, True, False]
    assert torch.equal(draw_both(quads, (12, 12)), alone)
    assert draw_both(quads[:1], (12, 12)).abs().sum() == 0


def test_a_quad_that_only_its_enlargement_brings_onto_the_map_is_drawn():
    quads = torch.tensor([box(-10, 2, -2, 8)], dtype=torch.float32)  # reaches x = 0 at (0, 5)
    assert drawable_quads(quads, (12, 12)).tolist() == [True]
    quads = quads + torch.tensor([1.0, 0.0])
    score = draw_both(quads, (12, 12))[0]
    assert score[5, 0].item() == pytest.approx(math.exp(-0.5 * 1.25**2 / 0.36), abs=1e-6)


def test_nothing_at_all():
    maps = draw_both(torch.zeros(0, 4, 2), (5, 6), batch_size=3)
    assert maps.shape == (3, 5, 6)
    assert maps.abs().sum() == 0
    assert drawable_quads(torch.zeros(0, 4, 2), (5, 6)).shape == (0,)


def test_quads_stay_as_they_are_and_get_no_gradient():
    quads = torch.tensor([box(2, 2, 8, 8)], dtype=torch.float32, requires_grad=True)
    before = quads.detach().clone()
    assert not render_gaussians(quads, (12, 12)).requires_grad
    assert torch.equal(quads, before)


def test_integer_and_half_precision_quads():
    expected = render_gaussians(torch.tensor([box(2, 2, 8, 8)], dtype=torch.float32), (12, 12))
    for dtype in (torch.int64, torch.float16, torch.float64):
        assert torch.equal(
            render_gaussians(torch.tensor([box(2, 2, 8, 8)]).to(dtype), (12, 12)), expected
        )


def test_chunks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (30, 1, 2)) + np.array(box(0, 0, 5, 7))
    quads = torch.from_numpy(corners)
    whole = draw_both(quads, (48, 48))
    monkeypatch.setattr("mmtextplug.geometry.PIXELS_PER_CHUNK", 100)
    torch.testing.assert_close(draw_both(quads, (48, 48)), whole)


# --- affinity ----------------------------------------------------------------------------------


def test_affinity_of_two_squares_by_hand():
    chars = torch.tensor([box(0, 0, 6, 6), box(9, 0, 15, 6)], dtype=torch.float32)
    # Centres (3, 3) and (12, 3); upper triangles' centroids at y = 1, lower ones' at y = 5.
    expected = torch.tensor([[[3.0, 1.0], [12.0, 1.0], [12.0, 5.0], [3.0, 5.0]]])
    torch.testing.assert_close(affinity_quads(chars), expected)


def test_the_centre_is_where_the_diagonals_meet_not_the_mean_of_the_corners():
    trapezoid = [[0.0, 0.0], [6.0, 0.0], [4.0, 2.0], [2.0, 2.0]]  # diagonals meet at (3, 1.5)
    chars = torch.tensor([trapezoid, box(9, 0, 15, 6)])
    link = affinity_quads(chars)[0]
    torch.testing.assert_close(link[0], torch.tensor([3.0, 0.5]))
    torch.testing.assert_close(link[3], torch.tensor([3.0, (2 + 2 + 1.5) / 3]))


def test_affinity_of_a_vertical_word_by_hand():
    chars = torch.tensor([box(0, 0, 6, 6), box(0, 9, 6, 15)], dtype=torch.float32)
    # Left triangles' centroids at x = 1, right ones' at x = 5; clockwise from the top left.
    expected = torch.tensor([[[1.0, 3.0], [5.0, 3.0], [5.0, 12.0], [1.0, 12.0]]])
    torch.testing.assert_close(affinity_quads(chars), expected)


@pytest.mark.parametrize("step", [(9, 0), (-9, 0), (0, 9), (0, -9), (9, 4), (-9, 4), (4, -9)])
@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135, 180, 250])
def test_affinity_is_drawable_and_spans_the_centres_in_any_direction(step, angle):
    first = np.array(box(-3, -3, 3, 3))
    chars = np.stack([first, first + step])
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    rotation = np.array([[cos, sin], [-sin, cos]])
    upright = affinity_quads(torch.from_numpy(chars))[0].numpy()
    link = affinity_quads(torch.from_numpy(chars @ rotation + 30))[0]
    # The characters' own axes decide: rotating the word rotates its affinity.
    np.testing.assert_allclose(link.numpy(), upright @ rotation + 30, atol=1e-9)
    assert drawable_quads(link[None], (60, 60)).item()
    middle = chars.mean(1).mean(0) @ rotation + 30
    np.testing.assert_allclose(link.numpy().mean(0), middle, atol=1e-9)
    # Two centroids on each character: their mean is the character's centre.
    centres = chars.mean(1) @ rotation + 30
    middles = (link + link.roll(-1, 0)).numpy() / 2
    distances = [np.linalg.norm(middles - c, axis=1).min() for c in centres]
    assert max(distances) < 1e-9


def test_right_to_left_equals_left_to_right():
    chars = torch.tensor([box(0, 0, 6, 6), box(9, 1, 15, 7), box(18, 0, 25, 6)])
    forwards = affinity_quads(chars)
    backwards = affinity_quads(chars.flip(0)).flip(0)
    torch.testing.assert_close(backwards, forwards)


def test_upwards_equals_downwards():
    chars = torch.tensor([box(0, 0, 6, 6), box(1, 9, 7, 15), box(0, 18, 6, 25)])
    downwards = affinity_quads(chars)
    torch.testing.assert_close(affinity_quads(chars.flip(0)).flip(0), downwards)


def test_words_of_one_character_have_none():
    assert affinity_quads(torch.zeros(0, 4, 2)).shape == (0, 4, 2)
    assert affinity_quads(torch.tensor([box(0, 0, 6.0, 6)])).shape == (0, 4, 2)
    chars = torch.tensor([box(9 * i, 0, 9 * i + 6.0, 6) for i in range(3)])
    assert affinity_quads(chars, word=torch.tensor([0, 1, 2])).shape == (0, 4, 2)
    assert affinity_quads(chars[:0], word=torch.zeros(0, dtype=torch.long)).shape == (0, 4, 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(convex_quads_anywhere(), max_size=4), max_size=4))
def test_many_words_at_once_equal_one_after_the_other(words):
    tensors = [torch.tensor(w, dtype=torch.float64).view(-1, 4, 2) for w in words]
    apart = torch.cat([torch.zeros(0, 4, 2, dtype=torch.float64), *map(affinity_quads, tensors)])
    chars = torch.cat([torch.zeros(0, 4, 2, dtype=torch.float64), *tensors])
    word = torch.tensor([i for i, w in enumerate(words) for _ in w], dtype=torch.long)
    assert torch.equal(affinity_quads(chars, word=word), apart)
    assert len(apart) == sum(max(len(w) - 1, 0) for w in words)


def test_a_degenerate_character_loses_its_own_links_only():
    chars = [box(9 * i, 3, 9 * i + 6.0, 9) for i in range(5)]
    chars[1] = [[11.0, 5.0]] * 4
    links = affinity_quads(torch.tensor(chars))
    assert drawable_quads(links, (12, 48)).tolist() == [False, False, True, True]
    maps = draw_both(links, (12, 48))
    assert torch.isfinite(maps).all()
    assert maps[0, :, 6:14].max() == 0
    assert maps[0, 6, 25].item() == pytest.approx(1, abs=0.02)


def test_the_affinity_between_two_characters_peaks_half_way():
    chars = torch.tensor([box(2, 2, 10, 12), box(11, 2, 19, 12)], dtype=torch.float32)
    score = draw_both(affinity_quads(chars), (16, 24))[0]
    assert divmod(int(score.argmax()), 24) in ((7, 10), (7, 11))
    # Half sides: 4.5 along (centre to centre), 10 / 3 across.
    squared = ((10 - 10.5) / 4.5) ** 2 + ((9 - 7) * 3 / 10) ** 2
    assert score[9, 10].item() == pytest.approx(math.exp(-0.5 * squared / 0.36), abs=1e-6)
