"""One homography for image, words and characters; and the sizes of the official test images."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import TRANSFORMS
from shapely.geometry import Polygon

from mmtextplug.craft.targets import char_confidence
from mmtextplug.datasets.annotations import Word
from mmtextplug.datasets.transforms import warp
from mmtextplug.datasets.transforms.loading import set_words
from mmtextplug.datasets.transforms.warp import RandomTextWarp, ResizeLongSide, project, warp_sample


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)


def word(left, top, *, count=3, size=12, text="abc", ignored=False) -> Word:
    chars = np.stack(
        [box(left + i * size, top, left + (i + 1) * size, top + size) for i in range(count)]
    )
    return Word(box(left, top, left + count * size, top + size), text, ignored, chars)


def sample(words, shape=(120, 160), image=None) -> dict:
    image = np.full((*shape, 3), 90, np.uint8) if image is None else image
    results = {
        "img": image,
        "img_shape": image.shape[:2],
        "ori_shape": image.shape[:2],
        "instances": [],
    }
    return set_words(results, words)


def similarity(factor: float, angle: float = 0.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    cos, sin = factor * np.cos(np.radians(angle)), factor * np.sin(np.radians(angle))
    return np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1]])


TILTED = np.array([[1.1, 0.15, 4.0], [-0.1, 0.95, 9.0], [0.0008, -0.0005, 1.0]])


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image.astype(np.float64)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


# --- projection --------------------------------------------------------------------------------


def test_project_by_hand_keeps_the_shape():
    points = np.array([[[0, 0], [2, 4]], [[1, 1], [-2, 0]]], np.float32)
    matrix = np.array([[2, 0, 1], [0, 3, -1], [0.5, 0, 1]])
    expected = [[[1, -1], [2.5, 5.5]], [[2, 4 / 3], [np.nan, np.nan]]]
    with np.errstate(all="ignore"):
        found = project(matrix, points)
    assert found.shape == (2, 2, 2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1, 0], expected[1][0], rtol=1e-6)
    assert not np.isfinite(found[1, 1]).all()  # on the horizon
    assert project(matrix, np.zeros((0, 4, 2))).shape == (0, 4, 2)


# --- image and words go together ---------------------------------------------------------------


@pytest.mark.parametrize(
    "matrix",
    [
        similarity(1, 0, 3, 5),
        similarity(1.7, 20, 10, -20),
        similarity(0.6, -15, 12, 25),
        similarity(0.45, 8, 20, 15),
        similarity(0.3, 10, 20, 15),  # shrunk in blocks of three first
        similarity(0.19, -10, 20, 35),
        TILTED,
        similarity(0.35) @ TILTED,
    ],
)
def test_a_dot_painted_on_a_character_stays_on_it(matrix):
    target = word(60, 50, count=2, size=20)
    image = np.zeros((121, 157, 3), np.uint8)  # sides that no block size divides
    for char in target.chars:
        # A soft dot: its centroid does not depend on where the pixels are cut.
        x, y = char.mean(0)
        columns, rows = np.meshgrid(np.arange(157), np.arange(121))
        dot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 5.0**2))
        results = sample([target], image=np.maximum(image, dot[..., None]).astype(np.uint8))
        warped = warp_sample(results, [target], matrix, (240, 220), (0, 0, 0))
        centre = project(matrix, np.array([[x, y]]))[0]
        # Perspective shifts a dot's centroid a little towards the enlarged side.
        tolerance = 0.35 if matrix[2, 0] else 0.06
        np.testing.assert_allclose(centroid(warped["img"][..., 0]), centre, atol=tolerance)


def test_words_and_characters_are_mapped_exactly():
    words = [word(30, 30), Word(box(60, 70, 90, 85), None, False, None), word(50, 20, ignored=True)]
    results = warp_sample(sample(words), words, TILTED, (200, 160), (0, 0, 0))
    for mine, polygon, chars in zip(
        words, results["gt_polygons"], results["gt_chars"], strict=False
    ):
        np.testing.assert_array_equal(polygon.reshape(-1, 2), project(TILTED, mine.polygon))
        if mine.chars is None:
            assert chars is None
        else:
            np.testing.assert_array_equal(chars, project(TILTED, mine.chars))
    assert results["gt_texts"] == ["abc", None, "abc"]
    assert results["gt_ignored"].tolist() == [False, False, True]
    corners = results["gt_polygons"][0].reshape(-1, 2)
    np.testing.assert_array_equal(results["gt_bboxes"][0], [*corners.min(0), *corners.max(0)])
    assert results["gt_bboxes_labels"].tolist() == [0, 0, 0]
    assert results["img"].shape == (160, 200, 3)
    assert results["img_shape"] == (160, 200)


def test_the_identity_changes_no_pixel():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    results = warp_sample(sample([], image=image), [], np.eye(3), (50, 40), (0, 0, 0))
    np.testing.assert_array_equal(results["img"], image)
    assert "valid_polygon" not in results


def test_the_image_is_interpolated_once(monkeypatch):
    calls = []
    for name in ("warpPerspective", "warpAffine", "resize", "remap"):
        original = getattr(cv2, name)
        monkeypatch.setattr(
            cv2,
            name,
            lambda *a, _name=name, _f=original, **k: (calls.append(_name), _f(*a, **k))[1],
        )
    transform = RandomTextWarp(96, scale=(1.0, 3.0), rotation=30, perspective=0.1)
    np.random.seed(0)
    for _ in range(10):
        transform.transform(sample([word(30, 30)]))
    assert calls == ["warpPerspective"] * 10


def test_shrinking_averages_instead_of_skipping():
    # Lines one pixel wide, every eighth pixel: sampling at a tenth would hit some and miss others.
    image = np.zeros((320, 320, 3), np.uint8)
    image[:, ::8] = 240
    results = warp_sample(sample([], image=image), [], similarity(0.1), (32, 32), (0, 0, 0))
    grey = results["img"][2:-2, 2:-2].astype(float)
    assert abs(grey.mean() - 30) < 3
    assert grey.max() < 80


@pytest.mark.parametrize("factor", [0.5, 1 / 3, 0.25, 0.22, 0.1])
def test_shrinking_shifts_nothing(factor):
    # A ramp is linear, so averaging and interpolating both keep it: values tell coordinates.
    ramp = np.repeat(np.arange(250, dtype=np.float32)[None], 250, 0)
    image = np.stack([ramp, ramp.T, ramp], 2)
    results = warp_sample(sample([], image=image), [], similarity(factor), (24, 24), (0, 0, 0))
    inside = results["img"][4:20, 4:20]
    wanted = np.arange(4, 20) / factor
    seen = wanted < 240
    # OpenCV interpolates at multiples of a 32nd of a pixel of the averaged image.
    expected, tolerance = np.tile(wanted[seen], (16, 1)), 1 / factor / 32
    np.testing.assert_allclose(inside[:, seen, 0], expected, atol=tolerance)
    np.testing.assert_allclose(inside[seen][:, :, 1].T, expected, atol=tolerance)


def far_perspective() -> np.ndarray:
    """A wide picture, its right end in view at twice its size, its origin near the horizon."""
    crop = similarity(2.0, 0, -2 * 900, 0)
    tilt = np.array([[1.0, 0, 0], [0, 1, 0], [-0.0005, 0, 1]])
    return tilt @ crop


def test_an_enlarged_part_is_not_blurred_because_of_far_away_perspective():
    matrix = far_perspective()
    stripes = np.zeros((100, 1000, 3), np.uint8)
    stripes[:, ::4] = 255
    stripes[:, 1::4] = 255
    results = warp_sample(sample([], image=stripes), [], matrix, (100, 100), (0, 0, 0))
    assert results["scale_factor"][0] == pytest.approx(2.0, rel=0.15)
    strip = results["img"][50, 20:80, 0]
    assert strip.min() < 20
    assert strip.max() > 235


# --- what is image -----------------------------------------------------------------------------


def literal_valid(matrix, shape, size) -> np.ndarray:
    """Pixel by pixel: whether an output pixel's centre comes from inside of the image."""
    inverse = np.linalg.inv(matrix)
    x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    u, v, w = np.tensordot(inverse, np.stack([x, y, np.ones_like(x)]).astype(float), 1)
    u, v = u / w, v / w
    return (u > -0.5) & (u < shape[1] - 0.5) & (v > -0.5) & (v < shape[0] - 0.5)


def drawn_valid(results, size) -> np.ndarray:
    if "valid_polygon" not in results:
        return np.ones(size[::-1], bool)
    polygon = results["valid_polygon"]
    assert polygon.dtype == np.float32
    assert polygon.ndim == 2
    shape = Polygon(polygon)
    mask = np.zeros(size[::-1], bool)
    if shape.area > 1e-6:
        from shapely import contains_xy

        x, y = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
        mask = contains_xy(shape, x, y)
    return mask


@pytest.mark.parametrize(
    ("matrix", "shape", "size"),
    [
        (similarity(0.5, 0, 10, 20), (60, 80), (100, 90)),
        (similarity(0.7, 25, 30, 5), (60, 80), (100, 90)),
        (similarity(1.0, 45, 30, -30), (60, 80), (64, 64)),
        (TILTED, (60, 80), (100, 90)),
        (similarity(1.0, 0, 500, 0), (60, 80), (64, 64)),  # nothing of the image is in view
        (similarity(3.0, 0, -40, -40), (60, 80), (64, 64)),  # nothing but the image is
        (far_perspective(), (100, 1000), (100, 100)),
        (similarity(1, 0, 0, 30) @ far_perspective(), (100, 1000), (100, 100)),
        # The left end of this picture lies behind the horizon of what is in view.
        (similarity(1, 0, 0, 30)
         @ np.array([[1.0, 0, 0], [0, 1, 0], [0.002, 0, 1]])
         @ similarity(2.0, 0, -1800, 0), (100, 1000), (100, 100)),
    ],
)  # fmt: skip
def test_valid_polygon_is_where_the_image_is(matrix, shape, size):
    results = warp_sample(sample([], shape), [], matrix, size, (0, 0, 0))
    expected, found = literal_valid(matrix, shape, size), drawn_valid(results, size)
    # Only pixels on the very border may differ.
    border = cv2.dilate(expected.astype(np.uint8), np.ones((3, 3))) != cv2.erode(
        expected.astype(np.uint8), np.ones((3, 3)), borderType=cv2.BORDER_REPLICATE
    )
    assert (expected == found)[~border].all()
    assert (expected != found).sum() <= 0.02 * expected.size
    if expected.all():
        assert "valid_polygon" not in results


def test_the_border_has_its_colour_and_nothing_else_is_invalid():
    results = warp_sample(
        sample([], (60, 80)), [], similarity(0.5, 0, 10, 20), (100, 90), (1, 2, 3)
    )
    valid = drawn_valid(results, (100, 90))
    assert (results["img"][5, 5] == (1, 2, 3)).all()
    assert (results["img"][valid][:, 0] > 30).all()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(60, 90), (40, 400), (300, 50), (7, 9)]))
def test_valid_polygon_of_random_warps(seed, shape):
    transform = RandomTextWarp(48, scale=(0.5, 3.0), rotation=40, perspective=0.1)
    words = [word(10, 10, size=8)]
    np.random.seed(seed)
    matrix = transform._random_matrix(shape, words)
    results = warp_sample(sample(words, shape), words, matrix, (48, 48), (0, 0, 0))
    expected, found = literal_valid(matrix, shape, (48, 48)), drawn_valid(results, (48, 48))
    assert (expected != found).mean() <= 0.02


# --- which words stay --------------------------------------------------------------------------


def test_words_outside_are_dropped_and_cut_ones_stay_whole():
    words = [
        word(2, 20),  # x from 2 to 38
        word(30, 20),  # 30 to 66: cut by the right border at 63
        word(64, 20),  # outside on the right
        word(-50, 20),  # -50 to -14: outside on the left
        word(-30, 20),  # -30 to 6: cut
        word(2, -13),  # y from -13 to -1
        word(2, 63),  # its first row is the last one
        word(2, 64),
    ]
    for index, each in enumerate(words):
        words[index] = Word(each.polygon, str(index), False, each.chars)
    results = warp_sample(sample(words), words, np.eye(3), (64, 64), (0, 0, 0))
    assert results["gt_texts"] == ["0", "1", "4", "6"]
    np.testing.assert_array_equal(results["gt_chars"][1], words[1].chars)
    assert results["gt_bboxes"].shape == (4, 4)


def test_words_keep_their_confidence_when_others_are_dropped():
    places = [(200, 20), (20, 20), (20, 60), (20, 200)]
    words = [
        replace(word(*place), confidence=value)
        for place, value in zip(places, (0.125, 0.25, 0.5, 0.75), strict=True)
    ]
    results = warp_sample(sample(words), words, np.eye(3), (100, 100), (0, 0, 0))
    assert results["gt_char_confidence"].tolist() == [0.25, 0.5]
    assert char_confidence(results).tolist() == [0.25, 0.5]
    # The same through the transform, which reads the words from the sample.
    np.random.seed(0)
    results = RandomTextWarp(60, scale=(3, 3)).transform(sample(words, (220, 260)))
    kept = len(results["gt_polygons"])
    assert 0 < kept < 4
    assert char_confidence(results).shape == (kept,)
    assert set(results["gt_char_confidence"].tolist()) <= {0.125, 0.25, 0.5, 0.75}


def test_words_behind_the_horizon_are_dropped():
    matrix = np.array([[1.0, 0, 0], [0, 1, 0], [-0.01, 0, 1]])  # horizon at x = 100
    words = [word(20, 20, text="before"), word(90, 20, text="across"), word(120, 20, text="behind")]
    results = warp_sample(sample(words), words, matrix, (64, 64), (0, 0, 0))
    assert results["gt_texts"] == ["before"]
    assert np.isfinite(results["gt_polygons"][0]).all()


def test_small_words_are_ignored_by_their_height_also_when_slanted():
    words = [word(10, 10, size=12), word(10, 60, size=8, text="small")]
    for angle in (0, 30):
        matrix = similarity(0.5, angle, 30, 5)
        results = warp_sample(sample(words), words, matrix, (100, 100), (0, 0, 0), min_height=5)
        assert results["gt_texts"] == ["abc", "small"]
        assert results["gt_ignored"].tolist() == [False, True]
        assert results["gt_chars"][1] is not None
    results = warp_sample(
        sample(words), words, similarity(0.5), (100, 100), (0, 0, 0), min_height=0
    )
    assert results["gt_ignored"].tolist() == [False, False]


def test_no_word_at_all():
    results = RandomTextWarp(64).transform(sample([]))
    assert results["gt_polygons"] == []
    assert results["gt_bboxes"].shape == (0, 4)
    assert results["gt_ignored"].shape == (0,)


# --- the transform -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (7, 3), (600, 40)])
def test_images_of_any_size(shape):
    np.random.seed(0)
    results = RandomTextWarp((64, 48)).transform(sample([word(0, 0, size=5)], shape))
    assert results["img"].shape == (48, 64, 3)
    assert results["img_shape"] == (48, 64)


def test_grey_images_keep_their_form():
    image = np.full((50, 60), 77, np.uint8)
    results = warp_sample(sample([], image=image), [], similarity(0.4), (40, 40), (9, 9, 9))
    assert results["img"].shape == (40, 40)
    assert results["img"][5, 5] == 77
    assert results["img"][39, 39] == 9


def test_what_others_hold_is_not_changed():
    words = [word(30, 30), word(60, 70)]
    results = sample(words)
    image, polygons = results["img"], results["gt_polygons"]
    chars, boxes, ignored = results["gt_chars"], results["gt_bboxes"], results["gt_ignored"]
    kept = [np.copy(a) for a in (image, boxes, ignored, *polygons, *chars)]
    RandomTextWarp(64, scale=(0.3, 0.4), min_height=50).transform(results)
    for before, after in zip(kept, (image, boxes, ignored, *polygons, *chars), strict=False):
        np.testing.assert_array_equal(before, after)
    assert results["img"] is not image
    assert len(polygons) == len(chars) == 2


def test_the_seed_decides():
    transform = TRANSFORMS.build({"type": "RandomTextWarp", "size": 64, "rotation": 20})
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)

    def drawn(seed):
        np.random.seed(seed)
        return transform.transform(sample([word(30, 30)], image=image))

    first, again, other = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(first["img"], again["img"])
    np.testing.assert_array_equal(first["gt_polygons"], again["gt_polygons"])
    assert (first["img"] != other["img"]).any()


def test_scales_angles_and_centres_are_within_their_ranges():
    words = [word(100, 40, count=2, size=10), word(0, 0, ignored=True)]
    transform = RandomTextWarp((60, 40), scale=(0.5, 2.0), rotation=15, perspective=0, text_ratio=1)
    np.random.seed(0)
    factors, angles = [], []
    for _ in range(300):
        matrix = transform._random_matrix((120, 200), words)
        factors.append(np.hypot(*matrix[0, :2]) * 120 / 40)
        angles.append(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
        centre = project(np.linalg.inv(matrix), np.array([[29.5, 19.5]]))[0]
        # Centred anywhere in the one word that can be read.
        assert (centre >= [99.999, 39.999]).all()
        assert (centre <= [120.001, 50.001]).all()
    assert 0.5 <= min(factors) < 0.53
    assert 1.9 < max(factors) <= 2.0 + 1e-9
    assert 0.9 < np.median(factors) < 1.1  # drawn by ratio, not by difference
    assert -15 <= min(angles) < -14
    assert 14 < max(angles) <= 15


def test_crops_that_fit_stay_inside_and_larger_ones_show_the_whole_image():
    transform = RandomTextWarp(50, scale=(2.0, 2.0), rotation=0, perspective=0)
    np.random.seed(0)
    for _ in range(50):
        assert "valid_polygon" not in transform.transform(sample([], (100, 140)))
    transform = RandomTextWarp((80, 50), scale=(0.4, 0.4), rotation=0, perspective=0)
    for _ in range(50):
        results = transform.transform(sample([], (100, 140)))  # becomes 28 x 20
        sides = np.ptp(results["valid_polygon"], axis=0)
        np.testing.assert_allclose(sides, [28, 20], atol=0.01)


def test_perspective_moves_each_corner_by_its_part_of_the_side_at_most():
    transform = RandomTextWarp((80, 40), scale=(1, 1), rotation=0, perspective=0.1, text_ratio=0)
    np.random.seed(0)
    shifts = []
    for _ in range(200):
        matrix = transform._random_matrix((40, 80), [])
        corners = np.array([[0, 0], [80, 0], [80, 40], [0, 40]], np.float64)
        shifts.append(np.abs(project(matrix, corners) - corners).max(0))
    assert (np.max(shifts, 0) <= np.array([8, 4]) + 1e-3).all()
    assert (np.max(shifts, 0) > [7, 3.5]).all()


@pytest.mark.parametrize(
    "settings_", [{"size": 0}, {"size": 64, "scale": (0, 1)}, {"size": 64, "scale": (2, 1)}]
)
def test_settings_that_make_no_sense_are_refused(settings_):
    with pytest.raises(ValueError, match="RandomTextWarp"):
        RandomTextWarp(**settings_)


def test_its_repr_builds_it_again():
    transform = RandomTextWarp(64, scale=(1.0, 2.0), border=3)
    again = eval(repr(transform), vars(warp))
    assert vars(again) == vars(transform)


# --- test images -------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    canvas=st.sampled_from([64, 100, 333, 1280]),
    magnification=st.sampled_from([1.0, 1.1, 1.2, 1.5, 1.75, 2.0, 0.7]),
)
def test_sizes_equal_the_official_rule(height, width, canvas, magnification):
    target = magnification * max(height, width)
    target = min(target, canvas)
    ratio = target / max(height, width)
    new_h, new_w = int(height * ratio), int(width * ratio)
    if min(new_h, new_w) < 1 or max(height, width) * magnification > 1000:
        return
    image = np.full((height, width, 3), 200, np.uint8)
    results = ResizeLongSide(canvas, magnification).transform({"img": image})
    assert results["img_shape"] == (new_h, new_w)
    padded = results["img"]
    assert padded.shape == (-(-new_h // 32) * 32, -(-new_w // 32) * 32, 3)
    assert (padded[:new_h, :new_w] == 200).all()
    assert padded.astype(int).sum() == 200 * 3 * new_h * new_w  # the padding is black
    assert results["scale_factor"] == (new_w / width, new_h / height)


def test_pixels_are_those_of_a_bilinear_resize():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    kept = image.copy()
    results = ResizeLongSide(1280, 1.5).transform({"img": image})
    expected = cv2.resize(image, (105, 75), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(results["img"][:75, :105], expected)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 2000)])
def test_extreme_shapes_keep_at_least_a_pixel(shape):
    results = ResizeLongSide(640, 1.5).transform({"img": np.zeros((*shape, 3), np.uint8)})
    assert min(results["img_shape"]) >= 1
    assert max(results["img_shape"]) <= 640
    assert results["img"].shape[0] % 32 == results["img"].shape[1] % 32 == 0


def test_words_stay_in_pixels_of_the_original():
    results = sample([word(30, 30)])
    results = ResizeLongSide(80).transform(results)
    np.testing.assert_array_equal(results["gt_polygons"][0].reshape(-1, 2), word(30, 30).polygon)
    assert repr(ResizeLongSide(80)) == "ResizeLongSide(long_side=80, magnification=1.5, divisor=32)"
