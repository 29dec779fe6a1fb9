"""Pictures of the comparison of samplers: scrambled words, symbols, proposals."""

from __future__ import annotations

from fractions import Fraction

import hard_text
import numpy as np
import pytest
import sampler_training
from hard_text import FixedProposals, HardNegatives
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import DATASETS, init_default_scope
from slow_boxes import boxes_of, noise, slow_iou

from mmtextplug.datasets.generated_text import GeneratedTextDataset

ANYTHING = settings(max_examples=80, deadline=None)


def inside(box: np.ndarray) -> tuple[slice, slice]:
    x0, y0 = np.floor(box[:2]).astype(int)
    x1, y1 = np.ceil(box[2:]).astype(int)
    return slice(y0, y1), slice(x0, x1)


def order_of(after: np.ndarray, before: np.ndarray) -> list[int]:
    """Where each column of a picture of noise was before."""
    return [
        int(np.flatnonzero((before == column[:, None]).all((0, 2)))[0])
        for column in np.moveaxis(after, 1, 0)
    ]


def test_strips_change_places_and_nothing_else_changes():
    before, after = noise(), noise()
    box = np.array([20.5, 30.5, 60.25, 50.75], np.float32)  # 41 pixels wide, 21 high
    assert hard_text.scramble(after, box, np.random.default_rng(0))
    order = order_of(after[inside(box)], before[inside(box)])
    strips = [list(range(start, min(start + 5, 41))) for start in range(0, 41, 5)]
    starts = [place for place in range(41) if place == 0 or order[place] != order[place - 1] + 1]
    found = np.split(np.array(order), starts[1:])
    joined = [list(part) for part in found]
    assert sorted(order) == list(range(41))
    assert order != list(range(41))
    # Neighbours may stay together; no strip is ever cut.
    assert all(part[0] % 5 == 0 and (part[-1] + 1) % 5 in (0, 1) for part in joined)
    assert sum(strip[0] in order for strip in strips) == 9
    outside = np.ones(before.shape[:2], bool)
    outside[inside(box)] = False
    np.testing.assert_array_equal(after[outside], before[outside])


@pytest.mark.parametrize("seed", range(8))
def test_two_strips_always_change_places(seed):
    image = noise()
    assert hard_text.scramble(image, np.array([40, 30, 50, 50]), np.random.default_rng(seed))
    expected = noise()[30:50, [*range(45, 50), *range(40, 45)]]
    np.testing.assert_array_equal(image[30:50, 40:50], expected)


@pytest.mark.parametrize(
    ("box", "done"),
    [
        ((0, 0, 40, 30), True),
        ((-0.1, 0, 40, 30), False),
        ((0, -0.1, 40, 30), False),
        ((150, 90, 200, 120), True),
        ((150, 90, 200.1, 120), False),
        ((150, 90, 200, 120.1), False),
        ((20, 20, 26, 30), True),  # two strips of the least width
        ((20, 20, 25, 30), False),
        ((20, 20, 34, 52), False),  # narrower than two quarters of its height
        ((20, 20, 36, 52), True),
    ],
)
def test_what_leaves_the_picture_or_is_too_narrow_stays(box, done):
    image = noise()
    assert hard_text.scramble(image, np.array(box, float), np.random.default_rng(1)) == done
    assert (image != noise()).any() == done


def drawn(words: list, idx: int = 0, seed: int = 1, **kwargs) -> dict:
    results = dict(img=noise(), sample_idx=idx, instances=[dict(bbox=word) for word in words])
    return HardNegatives(seed, **kwargs)(results)


def test_words_on_others_or_beyond_the_border_stay():
    alone, apart = [[20, 20, 60, 40]], [[100, 60, 130, 80], [134, 60, 160, 80]]
    close, border = [[100, 20, 130, 40], [128, 20, 160, 40]], [[-1, 80, 30, 100]]
    results = drawn(alone + close + border + apart, share=1.0, symbols=(0, 0))
    # Corners of the annotations are centres of pixels, those of the detector their borders.
    np.testing.assert_array_equal(results["scrambled"], np.array(alone + apart) + 0.5)
    np.testing.assert_array_equal(results["gt_bboxes"], np.array(close + border) + 0.5)
    assert results["scrambled"].dtype == results["gt_bboxes"].dtype == np.float32
    np.testing.assert_array_equal(results["gt_bboxes_labels"], [0, 0, 0])
    np.testing.assert_array_equal(results["gt_ignore_flags"], [False] * 3)
    assert results["symbols"].shape == (0, 4)
    assert results["scale_factor"] == (1.0, 1.0)
    same = np.ones(noise().shape[:2], bool)
    for box in results["scrambled"]:
        order = order_of(results["img"][inside(box)], noise()[inside(box)])
        assert sorted(order) == list(range(len(order)))
        assert order != sorted(order)
        same[inside(box)] = False
    np.testing.assert_array_equal(results["img"][same], noise()[same])


def test_without_words_and_without_scrambled_ones():
    empty = drawn([], symbols=(2, 2))
    assert empty["gt_bboxes"].shape == empty["scrambled"].shape == (0, 4)
    assert len(empty["symbols"]) == 2
    plain = drawn([[20, 20, 60, 40]], share=0.0, symbols=(0, 0))
    np.testing.assert_array_equal(plain["img"], noise())
    assert len(plain["gt_bboxes"]) == 1
    assert len(plain["scrambled"]) == 0


SEED, COUNT = 7, 16


@pytest.fixture(scope="module")
def scenes() -> list[tuple[dict, dict]]:
    """Pictures of the trainings before and after `HardNegatives` with a share of 0.45."""
    cfg = sampler_training.pictures(SEED, COUNT)
    del cfg["type"], cfg["pipeline"]
    pictures = list(GeneratedTextDataset(**cfg, pipeline=[]))
    return [(one, HardNegatives(SEED, 0.45)(dict(one))) for one in pictures]


def test_pictures_change_where_boxes_say_so(scenes):
    shares, symbols = [], []
    for before, after in scenes:
        words = np.array([word["bbox"] for word in before["instances"]], np.float32) + 0.5
        split = np.concatenate([after["gt_bboxes"], after["scrambled"]])
        np.testing.assert_array_equal(sorted(split.tolist()), sorted(words.tolist()))
        changed = (before["img"] != after["img"]).any(2)
        for box in after["symbols"]:
            x0, y0, x1, y1 = box.astype(int)
            assert 0 <= x0 < x1 <= 256
            assert 0 <= y0 < y1 <= 256
            assert changed[y0:y1, x0:x1].sum() > 15
            assert max(slow_iou(box, word) for word in words) == 0
            changed[y0:y1, x0:x1] = False
        for box in after["scrambled"]:
            assert changed[inside(box)].mean() > 0.1
            changed[inside(box)] = False
        assert not changed.any()
        shares.append(len(after["scrambled"]) / len(words))
        symbols.append(len(after["symbols"]))
    assert 0.25 < np.mean(shares) < 0.55  # 0.45 of those that stand alone
    assert 8 >= max(symbols) > 3


def same(first: dict, second: dict, keys: tuple[str, ...]) -> bool:
    return all(np.array_equal(first[key], second[key]) for key in keys)


def test_pictures_depend_on_seed_and_number_alone(scenes):
    keys = ("img", "gt_bboxes", "scrambled", "symbols", "proposals")
    init_default_scope("mmdet")
    cfg = sampler_training.pictures(SEED, COUNT)
    cfg["pipeline"][0]["share"] = 0.45
    dataset = DATASETS.build(cfg)
    dataset.pipeline.transforms.pop()  # which packs
    again = {number: dataset[number] for number in (3, 1)}
    assert all(same(again[n], FixedProposals(SEED)(dict(scenes[n][1])), keys) for n in again)
    before = scenes[0][0]
    mine = FixedProposals(SEED)(HardNegatives(SEED)(dict(before)))
    for seed, idx in ((SEED + 1, 0), (SEED, 1)):
        other = FixedProposals(seed)(HardNegatives(seed)({**before, "sample_idx": idx}))
        assert not any(same(mine, other, (key,)) for key in ("img", "proposals"))


def overlaps_with(boxes: np.ndarray, things: np.ndarray) -> np.ndarray:
    return np.array([max([slow_iou(b, t) for t in things], default=Fraction(0)) for b in boxes])


def test_proposals_around_all_kinds_alike(scenes):
    around = (60, 60, 40)
    spreads = {"gt_bboxes": [], "scrambled": [], "symbols": []}
    complete = [scene for _, scene in scenes if all(len(scene[key]) for key in spreads)]
    assert len(complete) > 3
    for scene in complete:
        results = FixedProposals(SEED, sum(around), around)(dict(scene))
        assert results["proposals"].shape == (160, 4)
        assert results["proposals"].dtype == np.float32
        np.testing.assert_array_equal(results["proposals_scores"], np.ones(160, np.float32))
        best = np.stack([overlaps_with(results["proposals"], scene[key]) for key in spreads])
        owner = best.argmax(0)
        counts = np.bincount(owner, minlength=3)
        np.testing.assert_allclose(counts, around, atol=6)  # things that lie close share some
        assert set(owner[:20]) == {0, 1, 2}  # their order tells nothing
        for number, values in enumerate(spreads.values()):
            values += [float(value) for value in best.max(0)[owner == number]]
    for values in spreads.values():
        values = np.array(values)
        assert ((values > 0.27) & (values < 0.97)).mean() > 0.97
        # Evenly spread: a fifth of them in each fifth of the range.
        shares = np.histogram(values, np.linspace(0.3, 0.95, 6))[0] / len(values)
        np.testing.assert_allclose(shares, 0.2, atol=0.07)


def test_the_other_proposals_lie_anywhere(scenes):
    scene = next(one for _, one in scenes if len(one["gt_bboxes"]))
    nothing = np.zeros((0, 4), np.float32)
    alone = {**scene, "scrambled": nothing, "symbols": nothing}
    results = FixedProposals(SEED, 100, (20, 30, 10))(dict(alone))
    assert results["proposals"].shape == (100, 4)
    assert 20 <= (overlaps_with(results["proposals"], scene["gt_bboxes"]) > 0.27).sum() < 45
    none = FixedProposals(SEED)({**alone, "gt_bboxes": nothing})["proposals"]
    assert none.shape == (400, 4)
    centres = (none[:, :2] + none[:, 2:]) / 2 // 128
    quarters = np.unique(centres, axis=0, return_counts=True)[1]
    np.testing.assert_allclose(quarters, [100] * 4, atol=40)
    for total in (60, 61, 62):  # none, one and two anywhere
        proposals = FixedProposals(SEED, total, (20, 30, 10))(dict(scene))["proposals"]
        assert proposals.shape == (total, 4)


def test_fewer_proposals_than_their_shares():
    with pytest.raises(ValueError, match=r"total=100 is less than around=\(60, 60, 40\)"):
        FixedProposals(0, 100, (60, 60, 40))


def within(boxes: np.ndarray, height: int, width: int) -> bool:
    sides = boxes[:, 2:] - boxes[:, :2]
    limits = boxes.min(initial=0) >= 0, (boxes[:, 2:] <= [width, height]).all()
    return all(limits) and sides.min(initial=4) >= 4 - 1e-4


@ANYTHING
@given(st.data(), st.integers(0, 99), st.integers(0, 30), st.integers(8, 300), st.integers(8, 300))
def test_proposals_stay_in_the_picture(data, seed, count, height, width):
    size, rng = (height, width), np.random.default_rng(seed)
    loose = hard_text.anywhere(count, size, rng)
    assert loose.shape == (count, 4)
    assert within(loose, height, width)
    starts = data.draw(st.lists(st.tuples(*[st.floats(0, 0.9)] * 4), min_size=1, max_size=4))
    rows = [(x, y, x + w * (1 - x), y + h * (1 - y)) for x, y, w, h in starts]
    boxes = np.array(rows, np.float32) * np.array([width, height] * 2, np.float32)
    boxes = np.concatenate([boxes, boxes_of([(width - 5, height - 5, width, height)])])
    near = hard_text.jittered(boxes, count, size, rng)
    assert near.shape == (count, 4)
    assert near.dtype == np.float32
    assert within(near, height, width)


@pytest.mark.parametrize("limits", [(0.3, 0.95), (0.6, 0.8)])
def test_overlaps_are_spread_evenly(limits):
    """And every box gets as many."""
    boxes = boxes_of([(40, 50, 140, 80), (150, 150, 180, 200), (60, 180, 130, 192)])
    rng = np.random.default_rng(3)
    near = hard_text.jittered(boxes, 600, (256, 256), rng, *limits)
    overlaps = np.array([float(slow_iou(box, boxes[i % 3])) for i, box in enumerate(near)])
    for own in (overlaps[0::3], overlaps[1::3], overlaps[2::3]):
        expected = np.quantile(np.linspace(*limits, 1000), np.linspace(0, 1, len(own)))
        assert np.abs(np.sort(own) - expected).max() < 0.1
        assert own.min() == pytest.approx(limits[0], abs=0.07)
        assert own.max() == pytest.approx(limits[1], abs=0.07)
    again = hard_text.jittered(boxes, 600, (256, 256), np.random.default_rng(3), *limits)
    np.testing.assert_array_equal(near, again)
