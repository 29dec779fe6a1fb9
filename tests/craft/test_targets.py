"""Region, affinity and confidence maps of words, and the transform that draws them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

from mmtextplug.craft.gaussian import affinity_quads, render_gaussians
from mmtextplug.craft.loss import CRAFTModuleLoss
from mmtextplug.craft.targets import (
    GaussianCharLabels,
    WordLabels,
    char_confidence,
    draw_score_maps,
    places_of,
    words_of_line,
)
from mmtextplug.datasets.transforms.packing import PackCharInputs
from mmtextplug.geometry import convex_quads

EDGE = math.exp(-0.5 / 0.36)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def word_of(*lefts: float, top: float = 8, size: float = 8) -> np.ndarray:
    return np.stack([box(x, top, x + size, top + size) for x in lefts])


def labels(*words, valid=None) -> WordLabels:
    """Each word: (polygon, chars, confidence)."""
    polygons, chars, confidence = zip(*words, strict=False) if words else ((), (), ())
    return WordLabels(list(polygons), list(chars), np.array(confidence, np.float32), valid)


def filled(size, *boxes_and_values) -> np.ndarray:
    """Ones, and whole-pixel boxes (left, top, right, bottom, the last two exclusive) on them."""
    maps = np.ones(size, np.float32)
    for (left, top, right, bottom), value in boxes_and_values:
        maps[top:bottom, left:right] = value
    return maps


# --- region and affinity -----------------------------------------------------------------------


def test_a_word_of_two_characters_by_hand():
    maps = draw_score_maps([labels((box(8, 8, 26, 16), word_of(8, 18), 1.0))], (24, 36))
    region, affinity = maps.region[0], maps.affinity[0]
    assert region.shape == affinity.shape == (24, 36)
    assert region[12, 12] == region[12, 22] == 1
    assert region[12, 8].item() == pytest.approx(EDGE, abs=1e-6)
    # The affinity box spans (12..22) x (12 - 8/3 .. 12 + 8/3).
    assert affinity[12, 17] == 1
    assert affinity[12, 12].item() == pytest.approx(EDGE, abs=1e-6)
    assert affinity[14, 17].item() == pytest.approx(
        math.exp(-0.5 * (2 / (8 / 3)) ** 2 / 0.36), abs=1e-6
    )
    assert (maps.confidence == 1).all()
    assert maps.skipped == 0


def test_neighbouring_words_are_not_linked():
    apart = labels((box(8, 8, 16, 16), word_of(8), 1.0), (box(18, 8, 26, 16), word_of(18), 1.0))
    assert draw_score_maps([apart], (24, 36)).affinity.abs().sum() == 0


def test_images_of_a_batch_do_not_mix():
    first = labels((box(8, 8, 26, 16), word_of(8, 18), 1.0))
    second = labels((box(2, 2, 30, 8), word_of(2, 11, 20, top=1), 0.5))
    empty = labels()
    batch = draw_score_maps([first, empty, second], (24, 36))
    for index, image in enumerate((first, empty, second)):
        alone = draw_score_maps([image], (24, 36))
        for name in ("region", "affinity", "confidence"):
            assert torch.equal(getattr(batch, name)[index], getattr(alone, name)[0])
    assert batch.region[1].sum() == 0


def test_the_maps_are_those_of_the_pure_functions():
    chars = [word_of(3, 12, 22), word_of(5, top=18), word_of(20, 28, top=17, size=6)]
    words = [(box(0, 0, 5, 5), c, v) for c, v in zip(chars, (1.0, 0.5, 0.25), strict=False)]
    maps = draw_score_maps([labels(*words)], (30, 40), sigma=0.5, enlarge=1.2)
    quads = torch.from_numpy(np.concatenate(chars))
    links = torch.cat([affinity_quads(torch.from_numpy(c)) for c in chars])
    assert len(links) == 3
    shape = {"sigma": 0.5, "enlarge": 1.2}
    assert torch.equal(maps.region, render_gaussians(quads, (30, 40), **shape))
    assert torch.equal(maps.affinity, render_gaussians(links, (30, 40), **shape))


def test_what_cannot_be_drawn_is_counted():
    chars = word_of(8, 18, 28, 400)
    chars[0] = chars[0, ::-1]  # inverted
    chars[1, 2, 0] = np.nan
    maps = draw_score_maps([labels((box(8, 8, 36, 16), chars, 1.0))], (24, 48))
    # The last one is off the map, which is no fault, and neither link of a bad one counts again.
    assert maps.skipped == 2
    assert torch.equal(maps.region, render_gaussians(torch.from_numpy(chars[2:3]), (24, 48)))
    assert torch.isfinite(maps.affinity).all()


def test_links_that_cannot_be_drawn_are_counted():
    # Two characters in one place: good quads, and a link without an area; a third beside them.
    chars = word_of(8, 8, 18)
    image = labels((box(8, 8, 26, 16), chars, 1.0), (box(28, 8, 44, 16), word_of(28, 36), 1.0))
    maps = draw_score_maps([image], (24, 48))
    assert maps.skipped == 1
    links = affinity_quads(torch.from_numpy(chars))
    assert convex_quads(links).tolist() == [False, True]
    assert draw_score_maps([image, image], (24, 48)).skipped == 2


def test_what_a_crop_leaves_outside_is_not_counted():
    chars = word_of(-300, -290, 8, 18, 400, 410)
    assert draw_score_maps([labels((box(8, 8, 26, 16), chars, 1.0))], (24, 48)).skipped == 0


# --- confidence --------------------------------------------------------------------------------


def confidence(*words, size=(20, 30), valid=None) -> np.ndarray:
    return draw_score_maps([labels(*words, valid=valid)], size).confidence[0].numpy()


def test_ignored_words_have_no_confidence_and_no_characters():
    maps = draw_score_maps([labels((box(4, 5, 12, 10), word_of(5), 0.0))], (20, 30))
    np.testing.assert_array_equal(maps.confidence[0].numpy(), filled((20, 30), ((4, 5, 12, 10), 0)))
    assert maps.region.abs().sum() == 0
    assert maps.skipped == 0


def test_doubtful_words_have_their_confidence():
    found = confidence((box(4, 5, 12, 10), word_of(5), 0.6), (box(14, 5, 20, 10), word_of(14), 1.0))
    np.testing.assert_array_equal(found, filled((20, 30), ((4, 5, 12, 10), 0.6)))


def test_a_known_word_is_trained_inside_an_ignored_one_whatever_their_order():
    known = (box(6, 6, 10, 10), word_of(6), 1.0)
    ignored = (box(2, 2, 20, 16), None, 0.0)
    expected = filled((20, 30), ((2, 2, 20, 16), 0), ((6, 6, 10, 10), 1))
    np.testing.assert_array_equal(confidence(known, ignored), expected)
    np.testing.assert_array_equal(confidence(ignored, known), expected)
    doubtful = (known[0], known[1], 0.5)
    expected[6:10, 6:10] = 0.5
    np.testing.assert_array_equal(confidence(ignored, doubtful), expected)


def test_where_known_words_overlap_the_most_doubtful_decides():
    first, second = (box(2, 2, 12, 12), word_of(2), 1.0), (box(8, 8, 20, 16), word_of(9), 0.5)
    expected = filled((20, 30), ((8, 8, 20, 16), 0.5))
    np.testing.assert_array_equal(confidence(first, second), expected)
    np.testing.assert_array_equal(confidence(second, first), expected)


def test_outside_of_the_image_nothing_is_trained():
    valid = box(3, 2, 21, 15)
    expected = np.zeros((20, 30), np.float32)
    expected[2:15, 3:21] = 1
    np.testing.assert_array_equal(confidence(valid=valid), expected)
    # Not even where a word with characters reaches over the border.
    word = (box(15, 5, 28, 10), word_of(16, top=3), 0.5)
    expected[5:10, 15:21] = 0.5
    np.testing.assert_array_equal(confidence(word, valid=valid), expected)
    # A crop that holds no image at all.
    assert (confidence(word, valid=valid * 0) == 0).all()


def test_only_images_with_a_border_are_limited():
    maps = draw_score_maps([labels(), labels(valid=box(0, 0, 5, 5))], (10, 12)).confidence
    assert maps[0].sum() == 120
    assert maps[1].sum() == 25


def test_polygons_that_are_not_finite_hide_nothing():
    polygon = box(2, 2, 12, 12)
    polygon[1, 0] = np.inf
    assert (confidence((polygon, None, 0.0)) == 1).all()


# --- of a pipeline's sample --------------------------------------------------------------------


def sample(shape=(48, 64)) -> dict:
    chars = [word_of(6, 16, 26, top=10, size=9), None, word_of(40, 50, top=30), np.zeros((0, 4, 2))]
    return {
        "img": np.zeros((*shape, 3), np.uint8),
        "img_shape": shape,
        "gt_polygons": [
            box(6, 10, 35, 19).reshape(-1),
            box(40, 4, 60, 12).reshape(-1),
            box(38, 28, 60, 40).reshape(-1),
            np.array([4, 30, 20, 28, 22, 40, 12, 44, 4, 40], np.float32),
        ],
        "gt_chars": chars,
        "gt_ignored": np.array([False, False, True, False]),
    }


def test_confidence_of_words():
    results = sample()
    found = char_confidence(results)
    assert found.dtype == np.float32
    # Known; without characters; ignored; without any character.
    assert found.tolist() == [1, 0, 0, 0]
    results["gt_char_confidence"] = np.array([0.75, 0.5, 0.5, 0.5])
    assert char_confidence(results).tolist() == [0.75, 0, 0, 0]
    results["gt_char_confidence"] = np.ones(3)
    with pytest.raises(ValueError, match=r"gt_ignored hold \(4, 3, 4\) words"):
        char_confidence(results)
    empty = {"gt_chars": [], "gt_ignored": np.zeros(0, bool)}
    assert char_confidence(empty).shape == (0,)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("valid", [None, box(5, 3, 60, 44)])
def test_the_transform_draws_exactly_what_the_loss_draws(stride, valid):
    results = sample()
    results["gt_char_confidence"] = np.array([0.75, 1, 1, 1], np.float32)
    if valid is not None:
        results["valid_polygon"] = valid
    drawn = TRANSFORMS.build({"type": "GaussianCharLabels", "stride": stride}).transform(
        dict(results)
    )
    maps = drawn["gt_score_maps"]
    size = (48 // stride, 64 // stride)
    assert maps.shape == (3, *size)
    assert maps.dtype == np.float32
    data_sample = PackCharInputs(meta_keys=("img_shape",)).transform(dict(results))["data_samples"]
    expected = CRAFTModuleLoss().get_targets([data_sample], size)
    for found, name in zip(maps, ("region", "affinity", "confidence"), strict=False):
        np.testing.assert_array_equal(found, getattr(expected, name)[0].numpy())
    assert maps[0].max() > 0.8
    assert maps[1].max() > 0.6
    assert 0 < (maps[2] == 0).mean() < 0.6
    assert (maps[2] == 0.75).any()


def test_a_sample_keeps_everything_it_had():
    results = sample()
    before = {
        key: np.copy(value) for key, value in results.items() if isinstance(value, np.ndarray)
    }
    polygons = [p.copy() for p in results["gt_polygons"]]
    chars = results["gt_chars"][0].copy()
    GaussianCharLabels().transform(results)
    for key, value in before.items():
        np.testing.assert_array_equal(results[key], value)
    for mine, theirs in zip(polygons, results["gt_polygons"], strict=False):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(results["gt_chars"][0], chars)


def test_odd_sizes_round_up_as_the_network_on_padded_images_does():
    results = dict(sample((47, 63)))
    assert GaussianCharLabels().transform(results)["gt_score_maps"].shape == (3, 24, 32)


def test_a_sample_without_words_is_background_everywhere():
    results = {
        "img": np.zeros((16, 16, 3), np.uint8),
        "gt_polygons": [],
        "gt_chars": [],
        "gt_ignored": np.zeros(0, bool),
    }
    maps = GaussianCharLabels().transform(results)["gt_score_maps"]
    assert (maps[:2] == 0).all()
    assert (maps[2] == 1).all()


def test_its_repr_names_its_settings():
    assert repr(GaussianCharLabels(stride=4, sigma=0.5)) == (
        "GaussianCharLabels(stride=4, {'sigma': 0.5, 'enlarge': 1.5}, bridge_spaces=False)"
    )


# --- spaces -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count", "parts"),
    [
        (None, 5, [5]), ("abcde", 5, [5]), ("ab cde", 5, [2, 3]), ("  ab  c d ", 4, [2, 1, 1]),
        ("e\u0301 b", 2, [1, 1]), ("a \u200b b", 2, [1, 1]), ("", 3, [3]),
    ],
)  # fmt: skip
def test_words_of_a_line(text, count, parts):
    (places,) = places_of([text])
    assert words_of_line(places, word_of(*range(0, 10 * count, 10))) == parts


def test_where_the_numbers_differ_the_widest_gaps_are_the_spaces():
    found = word_of(0, 10, 30, 40, 50, 75)  # gaps after the second and the fifth
    for text, parts in (
        ("abc def gh", [2, 3, 1]),
        ("abcd efg", [5, 1]),
        ("a b c d e f g", [6]),  # more words than characters
    ):
        (places,) = places_of([text])
        assert words_of_line(places, found) == parts


def test_what_the_image_shows_of_a_line_counts():
    seen = [False, True, True, True, True]  # of "ab cdef", cut after "ab"
    assert words_of_line(seen, word_of(0, 10, 20, 30)) == [4]
    assert places_of(None) is None
    assert places_of([None, "ab", "a b"]) == [None, None, [True, False, True]]


def test_a_space_has_no_affinity_unless_it_is_bridged():
    chars = word_of(0, 10, 20, 30)
    line = labels((box(0, 8, 38, 16), chars, 1.0))
    spaced = replace(line, places=[[True, True, False, True, True]])
    affinity = draw_score_maps([spaced], (24, 44)).affinity[0]
    assert affinity[12, 9] == affinity[12, 29] == 1  # a-b and c-d
    assert affinity[12, 19] == 0
    np.testing.assert_array_equal(
        draw_score_maps([spaced], (24, 44)).region, draw_score_maps([line], (24, 44)).region
    )
    bridged = draw_score_maps([line], (24, 44)).affinity[0]
    assert bridged[12, 19] == 1
    results = dict(
        img=np.zeros((24, 44, 3), np.uint8), gt_polygons=[box(0, 8, 38, 16).ravel()],
        gt_chars=[chars], gt_ignored=np.array([False]), gt_texts=["ab cd"],
    )  # fmt: skip
    for bridge, expected in ((False, affinity), (True, bridged)):
        drawn = GaussianCharLabels(stride=1, bridge_spaces=bridge)(dict(results))
        np.testing.assert_array_equal(drawn["gt_score_maps"][1], expected)
