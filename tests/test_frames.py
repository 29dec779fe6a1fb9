"""Where a padded or warped picture shows the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import BaseDataElement

from mmtextplug.frames import image_frame, outside_frames, padded_size


def sample(**metainfo) -> BaseDataElement:
    return BaseDataElement(metainfo=metainfo)


def test_frames_of_samples():
    assert image_frame(sample(img_shape=(20, 30))) is None
    assert image_frame(sample(img_shape=(20, 30), batch_input_shape=(20, 30))) is None
    padded = sample(img_shape=(20, 30), batch_input_shape=(32, 32))
    assert padded_size(padded) == (32, 32)
    expected = [[-0.5, -0.5], [29.5, -0.5], [29.5, 19.5], [-0.5, 19.5]]
    assert image_frame(padded).tolist() == expected
    # What a warp wrote goes before: it lies within the image.
    frame = np.array([[1, 2], [9, 2], [5, 8]], np.float32)
    warped = sample(img_shape=(20, 30), batch_input_shape=(32, 32), valid_polygon=frame)
    assert image_frame(warped).tolist() == frame.tolist()


def test_a_padded_image_by_hand():
    padded = sample(img_shape=(3, 5), batch_input_shape=(6, 8))
    outside = outside_frames([image_frame(padded), None], (6, 8))
    expected = torch.ones(6, 8, dtype=torch.bool)
    expected[:3, :5] = False
    assert torch.equal(outside[0], expected)
    assert not outside[1].any()
    # At half the size the columns that an image shares with the padding belong to it.
    outside = outside_frames([image_frame(padded) / 2], (3, 4))
    assert outside[0].tolist() == [[False] * 3 + [True], [False] * 3 + [True], [True] * 4]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_equals_opencv_over_random_convex_frames(seed, backwards):
    rng = np.random.default_rng(seed)
    frame = cv2.convexHull(rng.uniform(-20, 60, (6, 2)).astype(np.float32))[:, 0]
    outside = outside_frames([frame[::-1] if backwards else frame], (40, 50))[0].numpy()
    for y, x in rng.integers(0, 40, (40, 2)):
        distance = cv2.pointPolygonTest(frame, (float(x), float(y)), True)
        if abs(distance) > 0.01:
            assert outside[y, x] == (distance < 0)


@pytest.mark.parametrize("frame", [np.zeros((4, 2)), np.full((4, 2), 7.0)])
def test_a_frame_without_area_holds_nothing(frame):
    assert outside_frames([frame], (10, 10)).all()
