"""Regions to be ignored: in images with and without ground truth."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmengine.registry import TASK_UTILS, DefaultScope
from mmengine.structures import InstanceData

import mmtextplug  # noqa: F401 - registers

OPTIONS = dict(pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False)
CORNER = st.integers(0, 12)
BOXES = st.lists(
    st.tuples(CORNER, CORNER, st.integers(1, 8), st.integers(1, 8)).map(
        lambda box: [box[0], box[1], box[0] + box[2], box[1] + box[3]]
    ),
    max_size=6,
)


def make(**changes) -> MaxIoUAssigner:
    cfg = dict(type="RegionAwareMaxIoUAssigner", **OPTIONS, ignore_iof_thr=0.5)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return TASK_UTILS.build({**cfg, **changes})


def original(**changes) -> MaxIoUAssigner:
    return make(type="MaxIoUAssigner", **changes)


def instances(boxes: list, key: str = "bboxes") -> InstanceData:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found = InstanceData(**{key: boxes})
    if key == "bboxes":
        found.labels = torch.zeros(len(boxes), dtype=torch.long)
    return found


def owners(assigner: MaxIoUAssigner, priors: list, truths: list, regions: list) -> list[int]:
    result = assigner.assign(instances(priors, "priors"), instances(truths), instances(regions))
    return result.gt_inds.tolist()


def test_regions_count_without_ground_truth_by_hand():
    region = [0, 0, 10, 10]
    # Inside; exactly half of it; a little more than half; elsewhere.
    priors = [[2, 2, 4, 4], [8, 0, 12, 10], [7, 0, 12, 10], [20, 20, 30, 30]]
    assert owners(make(), priors, [], [region]) == [-1, 0, -1, 0]
    assert owners(original(), priors, [], [region]) == [0] * 4
    truth = [20, 20, 30, 30]
    assert owners(make(), priors, [truth], [region]) == [-1, 0, -1, 1]


@settings(max_examples=100, deadline=None)
@given(BOXES, BOXES, BOXES)
def test_boxes_on_regions_are_ignored_others_as_the_original_has_them(priors, truths, regions):
    def share(box):
        areas = [
            max(min(box[2], r[2]) - max(box[0], r[0]), 0)
            * max(min(box[3], r[3]) - max(box[1], r[1]), 0)
            for r in regions
        ]
        return max(areas, default=0) / ((box[2] - box[0]) * (box[3] - box[1]))

    plain = owners(original(ignore_iof_thr=-1), priors, truths, [])
    expected = [-1 if share(box) > 0.5 else owner for box, owner in zip(priors, plain)]
    assert owners(make(), priors, truths, regions) == expected


def test_without_regions_given():
    result = make().assign(instances([[0, 0, 4, 4]], "priors"), instances([]))
    assert result.gt_inds.tolist() == [0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(ignore_iof_thr=-1), "ignore_iof_thr=-1 must be in"),
        (dict(ignore_iof_thr=1.5), "ignore_iof_thr=1.5 must be in"),
        (dict(ignore_wrt_candidates=False), "leave out ignore_wrt_candidates"),
    ],
)
def test_settings_without_effect_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)
