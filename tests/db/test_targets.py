"""DB's targets against Shapely's distances, by hand, and on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from literal_targets import literal_targets

from mmtextplug import geometry
from mmtextplug.db import targets_gpu
from mmtextplug.db.shapes import text_polygons
from mmtextplug.db.targets import DBTargets, db_targets

SIZE = (36, 44)
BOX = np.array([[5, 5], [30, 5], [30, 15], [5, 15]], float)


def by_tensors(polygons, ignored, size, *, batch_index=None, batch_size=1) -> DBTargets:
    """The form for GPUs, on the CPU."""
    shapes = text_polygons(polygons, batch_index=batch_index)
    low, high = (torch.from_numpy(corner) for corner in shapes.bounds())
    reach = torch.from_numpy(shapes.distance)[:, None] + 1e-4
    full = (batch_size, *size)
    maps = DBTargets(
        torch.zeros(full),
        torch.ones(full, dtype=torch.bool),
        torch.full(full, 0.3),
        torch.zeros(full, dtype=torch.bool),
    )
    windows = geometry.Windows.around(low - reach, high + reach, size)
    return targets_gpu.draw(maps, shapes, ignored, windows, slack=1e-4, thr_min=0.3, thr_max=0.7)


def scene(seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Stars and boxes, convex or not, some beyond the border, some ignored."""
    rng = np.random.default_rng(seed)
    polygons = []
    for _ in range(rng.integers(0, 6)):
        centre = rng.uniform(-10, 55, 2)
        if rng.random() < 0.3:  # on whole pixels, where offsets meet them
            extent = rng.integers(3, 20, 2)
            corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
            polygon = corners * extent + np.round(centre)
        else:
            angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 14)))
            spokes = np.stack([np.cos(angle), np.sin(angle)], 1)
            polygon = centre + spokes * rng.uniform(4, 25, (len(angle), 1))
        # Some corners on rows of pixels, others at thirds: sums of theirs round to either side.
        if rng.random() < 0.3:
            polygon = np.where(rng.random((len(polygon), 1)) < 0.5, polygon.round(), polygon)
            polygon = np.round(polygon * 3) / 3
        polygons.append(polygon[::-1] if rng.random() < 0.5 else polygon)
    usable = [p for p, f in zip(polygons, text_polygons(polygons).fault) if f == 0]
    return usable, rng.random(len(usable)) < 0.3


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31))
def test_equals_shapely_over_random_polygons(seed):
    polygons, ignored = scene(seed)
    kernel, mask, threshold, border, sure = literal_targets(polygons, ignored, SIZE)
    for drawn in (db_targets(polygons, ignored, SIZE), by_tensors(polygons, ignored, SIZE)):
        assert drawn.kernel.dtype == drawn.threshold.dtype == torch.float32
        assert drawn.mask.dtype == drawn.threshold_mask.dtype == torch.bool
        np.testing.assert_array_equal(drawn.kernel[0].numpy()[sure], kernel[sure])
        np.testing.assert_array_equal(drawn.mask[0].numpy()[sure], mask[sure])
        np.testing.assert_array_equal(drawn.threshold_mask[0].numpy()[sure], border[sure])
        np.testing.assert_allclose(drawn.threshold[0].numpy(), threshold, rtol=0, atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_both_forms_are_equal_at_every_pixel(seed):
    polygons, ignored = scene(seed)
    where = np.random.default_rng(seed).integers(0, 3, len(polygons))
    options = dict(batch_index=where, batch_size=3)
    loop = db_targets(polygons, ignored, SIZE, **options)
    tensors = by_tensors(polygons, torch.from_numpy(ignored), SIZE, **options)
    for name in ("kernel", "mask", "threshold_mask"):
        assert torch.equal(getattr(loop, name), getattr(tensors, name)), name
    torch.testing.assert_close(tensors.threshold, loop.threshold, rtol=0, atol=1e-5)
    for number in range(3):
        own = [p for p, w in zip(polygons, where) if w == number]
        alone = db_targets(own, ignored[where == number], SIZE)
        assert all(torch.equal(a[0], b[number]) for a, b in zip(alone, loop))


def test_a_corner_on_a_row_is_the_same_for_both_of_its_edges():
    # As a sum of the other corner and the way from there it is not: crossings would not cancel,
    # and all that follows would be turned inside out.
    leaking = [
        np.array([[13, -2 / 3], [30, -5 / 3], [30, 15], [13, 43 / 3]]),
        np.array([[6, -55.89414526238287], [30, -56.19414526238287], [33, 38], [4, 47.3]]),
    ]
    for first in leaking:
        polygons, ignored = [first, BOX + 8, BOX], [True, False, False]
        kernel, mask, threshold, border, sure = literal_targets(polygons, ignored, (60, 60))
        for draw in (db_targets, by_tensors):
            drawn = draw(polygons, ignored, (60, 60))
            np.testing.assert_array_equal(drawn.kernel[0].numpy()[sure], kernel[sure])
            np.testing.assert_array_equal(drawn.mask[0].numpy()[sure], mask[sure])
            np.testing.assert_array_equal(drawn.threshold_mask[0].numpy()[sure], border[sure])
            np.testing.assert_allclose(drawn.threshold[0].numpy(), threshold, rtol=0, atol=2e-5)


@pytest.mark.parametrize("draw", [db_targets, by_tensors])
@pytest.mark.parametrize(
    ("width", "height", "offset"),
    [(100, 20, 7), (50, 25, 7), (100, 50, 14), (150, 75, 21), (100, 100, 21), (300, 60, 21)],
)
def test_pixels_right_on_an_offset_belong_to_it(draw, width, height, offset):
    # 21 w h / 50 (w + h) is whole, which rounding may miss.
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    for left, top in ((30, 30), (31.5, 30), (30, 32.25)):
        drawn = draw([np.add(corners, (left, top))], [False], (170, 370))
        inside = np.zeros((170, 370))
        first_x, first_y = (int(np.ceil(v + offset)) for v in (left, top))
        last_x, last_y = (int(v) for v in (left + width - offset, top + height - offset))
        inside[first_y : last_y + 1, first_x : last_x + 1] = 1
        np.testing.assert_array_equal(drawn.kernel[0].numpy(), inside)
        row = drawn.threshold_mask[0, int(np.ceil(top - offset)), int(left) + 3 : int(left) + 9]
        assert row.all()


@pytest.mark.parametrize("draw", [db_targets, by_tensors])
def test_by_hand(draw):
    # 100 x 20: D = 7, and whole pixels lie right on it.
    box = np.array([10, 10, 110, 10, 110, 30, 10, 30], float)
    drawn = draw([box], [False], (60, 130))
    expected = np.zeros((60, 130))
    expected[17:24, 17:104] = 1
    np.testing.assert_array_equal(drawn.kernel[0].numpy(), expected)
    assert drawn.mask.all()
    row = drawn.threshold[0, :, 60]
    assert row[10].item() == pytest.approx(0.7)
    assert row[[7, 13]].tolist() == pytest.approx([0.3 + 0.4 * 4 / 7] * 2)
    assert row[[3, 17, 20]].tolist() == pytest.approx([0.3] * 3)
    assert drawn.threshold_mask[0, :, 60].nonzero()[[0, -1], 0].tolist() == [3, 37]
    # Round corners: 7 pixels from (10, 10), and no more.
    assert drawn.threshold_mask[0, 3, 10]
    assert drawn.threshold_mask[0, 6, 5]
    assert not drawn.threshold_mask[0, 4, 5]
    assert drawn.threshold[0, 7, 6].item() == pytest.approx(0.3 + 0.4 * 2 / 7)


def test_the_distance_is_that_to_the_edge_and_not_to_its_ends():
    # Above the middle of a long edge, half of it away, where the rule that public code shares is
    # wrong by a factor of 1.41.
    points = np.array([[20, 40], [60, 40], [60, 90], [20, 90]], float)
    drawn = db_targets([points], [False], (120, 80))
    offset = 0.84 * 2000 / 180
    assert drawn.threshold[0, 36, 40].item() == pytest.approx(0.3 + 0.4 * (1 - 4 / offset))
    assert drawn.threshold[0, 49, 24].item() == pytest.approx(0.3 + 0.4 * (1 - 4 / offset))


def test_where_instances_overlap_the_highest_threshold_stays():
    other = np.add(BOX, (0, 6))
    together = db_targets([BOX, other], [False, False], SIZE)
    apart = [db_targets([box], [False], SIZE) for box in (BOX, other)]
    assert torch.equal(together.threshold, torch.maximum(apart[0].threshold, apart[1].threshold))
    assert torch.equal(together.kernel, torch.maximum(apart[0].kernel, apart[1].kernel))
    assert torch.equal(together.threshold_mask, apart[0].threshold_mask | apart[1].threshold_mask)


def test_ignored_words_leave_a_hole_in_the_mask_and_nothing_else():
    drawn = db_targets([BOX], [True], SIZE)
    expected = np.ones(SIZE, bool)
    expected[5:16, 5:31] = False  # the outline included
    np.testing.assert_array_equal(drawn.mask[0].numpy(), expected)
    assert not drawn.kernel.any()
    assert not drawn.threshold_mask.any()
    assert (drawn.threshold == np.float32(0.3)).all()
    # The kernel of a word in an ignored one is still there, behind the mask.
    inner = BOX + 1
    drawn = db_targets([BOX, inner], [True, False], SIZE)
    assert torch.equal(drawn.kernel, db_targets([inner], [False], SIZE).kernel)
    np.testing.assert_array_equal(drawn.mask[0].numpy(), expected)


def test_faulty_polygons_are_masked_as_far_as_they_enclose_anything():
    crossing = BOX[[0, 2, 1, 3]]
    drawn = db_targets([crossing], [False], SIZE)
    assert not drawn.kernel.any()
    assert not drawn.threshold_mask.any()
    assert not drawn.mask[0, 10, 6]
    assert not drawn.mask[0, 10, 29]
    # What is wound around twice is inside, too.
    angle = np.arange(5) * 4 * np.pi / 5
    pentagram = 20 + 15 * np.stack([np.sin(angle), -np.cos(angle)], 1)
    for draw in (db_targets, by_tensors):
        assert not draw([pentagram], [False], SIZE).mask[0, 20, 20]
    for empty in (
        [],
        [3, 4],
        [[3, 4], [9, 9]],
        BOX * np.nan,
        BOX.ravel()[:-1],
        np.full((4, 2), 1e7),
    ):
        drawn = db_targets([empty, BOX], [False, False], SIZE)
        alone = db_targets([BOX], [False], SIZE)
        assert all(torch.equal(a, b) for a, b in zip(drawn, alone))


def test_small_words_are_masked():
    drawn = db_targets([BOX], [False], SIZE, min_side=10.5)
    assert torch.equal(drawn.mask, db_targets([BOX], [True], SIZE).mask)
    assert not drawn.kernel.any()
    assert db_targets([BOX], [False], SIZE, min_side=9.5).kernel.any()


def test_a_kernel_that_falls_apart_has_all_its_parts():
    dumbbell = np.array(
        [[2, 2], [16, 2], [16, 9], [34, 9], [34, 2], [48, 2], [48, 22], [34, 22], [34, 14],
         [16, 14], [16, 22], [2, 22]], float,
    )  # fmt: skip
    kernel = db_targets([dumbbell], [False], (30, 52)).kernel[0].numpy()
    assert kernel[12, 9] == 1
    assert kernel[12, 41] == 1
    assert not kernel[:, 20:30].any()


def test_what_the_border_cuts_is_drawn_as_if_there_were_more():
    size, margin = (20, 30), 25
    polygons = [BOX + shift for shift in ([-12, -9], [15, 8], [-3, 3], [60, 60], [-90, 5])]
    polygons.append(np.array([[-20, -20], [50, -20], [50, 40], [-20, 40]], float))
    flags = [False] * len(polygons)
    small = db_targets(polygons, flags, size)
    large = db_targets(
        [p + margin for p in polygons], flags, (size[0] + 2 * margin, size[1] + 2 * margin)
    )
    for cut, whole in zip(small, large):
        inner = whole[:, margin : margin + size[0], margin : margin + size[1]]
        torch.testing.assert_close(cut, inner, rtol=0, atol=1e-6)


def test_the_range_of_the_threshold_and_the_shrink_ratio():
    drawn = db_targets([BOX], [False], SIZE, thr_min=0.1, thr_max=0.9, shrink_ratio=0.0)
    offset = 250 / 70
    assert drawn.threshold[0, 5, 15].item() == pytest.approx(0.9)
    assert drawn.threshold[0, 3, 15].item() == pytest.approx(0.1 + 0.8 * (1 - 2 / offset))
    assert drawn.threshold.min().item() == pytest.approx(0.1)


def test_nothing_to_draw():
    for drawn in (db_targets([], [], SIZE), by_tensors([], [], SIZE)):
        assert drawn.kernel.shape == (1, *SIZE)
        assert not drawn.kernel.any()
        assert drawn.mask.all()
        assert (drawn.threshold == np.float32(0.3)).all()
        assert not drawn.threshold_mask.any()


def test_thousands_of_words_in_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    polygons = [BOX * 0.3 + shift for shift in rng.uniform(0, 180, (2000, 2))]
    ignored = rng.random(2000) < 0.2
    whole = db_targets(polygons, ignored, (190, 200))
    monkeypatch.setattr(geometry, "PIXELS_PER_CHUNK", 3000)
    chunked = by_tensors(polygons, ignored, (190, 200))
    for name in ("kernel", "mask", "threshold_mask"):
        assert torch.equal(getattr(whole, name), getattr(chunked, name))
    torch.testing.assert_close(whole.threshold, chunked.threshold, rtol=0, atol=1e-5)


def test_the_polygons_stay_as_they_are():
    flat = BOX.astype(np.float32).ravel()
    kept = flat.copy()
    db_targets([flat], [False], SIZE, min_side=8)
    np.testing.assert_array_equal(flat, kept)


def test_arguments_that_contradict_each_other():
    with pytest.raises(ValueError, match="2 ignored flags for 1 polygons"):
        db_targets([BOX], [False, True], SIZE)
    with pytest.raises(ValueError, match="beyond batch_size=2"):
        db_targets([BOX], [False], SIZE, batch_index=[2], batch_size=2)
    with pytest.raises(ValueError, match="beyond batch_size=1"):
        db_targets([BOX], [False], SIZE, batch_index=[-1])
