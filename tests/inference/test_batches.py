"""Images of like sizes share batches; each is in exactly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtextplug.inference.batches import plan_batches

SIZES = st.lists(st.tuples(st.integers(1, 300), st.integers(1, 300)), max_size=20)


def padded(size: int, step: int) -> int:
    return (size + step - 1) // step * step


def test_images_padded_alike_share_batches_and_no_others():
    sizes = [(64, 64), (33, 64), (64, 96), (40, 50), (32, 64)]
    # In multiples of 32: 64x64, 64x64, 64x96, 64x64, 32x64.
    assert plan_batches(sizes, 8) == [[4], [0, 1, 3], [2]]


def test_a_batch_ends_where_it_is_full():
    assert plan_batches([(8, 8)] * 5, 2) == [[0, 1], [2, 3], [4]]


def test_some_padding_is_put_up_with():
    # 64x64 beside 64x96: (64 - 32) / ... of the larger twice, a sixth of the batch.
    sizes = [(64, 96), (64, 64)]
    assert plan_batches(sizes, 2, max_waste=1 / 6) == [[0, 1]]
    assert plan_batches(sizes, 2, max_waste=0.16) == [[1], [0]]


def test_pixels_limit_a_batch_but_not_an_image():
    sizes = [(64, 64)] * 3 + [(640, 640)]
    assert plan_batches(sizes, 8, max_pixels=2 * 64 * 64) == [[0, 1], [2], [3]]


def test_nothing():
    assert plan_batches([], 4) == []


@given(SIZES, st.integers(1, 6), st.sampled_from([1, 32]), st.floats(0, 0.9), st.integers(1, 10**5))
def test_every_plan_keeps_its_limits(sizes, batch_size, step, max_waste, max_pixels):
    batches = plan_batches(sizes, batch_size, step=step, max_waste=max_waste, max_pixels=max_pixels)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        assert batch == sorted(batch)
        assert 1 <= len(batch) <= batch_size
        sides = [[padded(sizes[i][axis], step) for i in batch] for axis in (0, 1)]
        area = max(sides[0]) * max(sides[1])
        text = sum(height * width for height, width in zip(*sides))
        assert len(batch) == 1 or area * len(batch) <= max_pixels
        assert area * len(batch) - text <= max_waste * area * len(batch) + 1e-6


@pytest.mark.parametrize("step", [1, 32])
def test_without_waste_all_of_a_batch_are_padded_as_they_are_alone(step):
    sizes = [(height, width) for height in range(30, 70, 7) for width in range(30, 70, 9)]
    for batch in plan_batches(sizes, 4, step=step):
        assert len({(padded(sizes[i][0], step), padded(sizes[i][1], step)) for i in batch}) == 1
