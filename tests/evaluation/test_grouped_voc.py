"""AP of groups of categories, against a slow literal version, by hand, and MMDetection's own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmdet.evaluation import VOCMetric
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmtextplug.evaluation.grouped_voc import (
    GroupedVOCMetric,
    group_labels,
    group_mean,
    tpfp_in_regions,
)

CLASSES = ("car", "bus", "cat", "cow")
GROUPS = dict(rigid=["car", "bus"], nonrigid=["cow", "cat"], all=list(CLASSES), one=["bus"])


def metric(classes=CLASSES, groups=GROUPS, **kwargs):
    built = GroupedVOCMetric(groups, **{"iou_thrs": [0.5, 0.7], **kwargs})
    built.dataset_meta = dict(classes=classes)
    return built


def image(truths, detections, ignored=()):
    """One entry of a metric's results.

    Args:
        truths, ignored: Rows of (label, x1, y1, x2, y2).
        detections: Rows of (label, x1, y1, x2, y2, score).
    """
    rows = [np.array(list(part), float).reshape(-1, n) for part, n in ((truths, 5), (ignored, 5))]
    found = np.array(list(detections), float).reshape(-1, 6)
    truth = dict(
        labels=rows[0][:, 0].astype(int),
        bboxes=rows[0][:, 1:],
        labels_ignore=rows[1][:, 0].astype(int),
        bboxes_ignore=rows[1][:, 1:],
    )
    return truth, [found[found[:, 0] == label, 1:] for label in range(len(CLASSES))]


def pixels(box):
    """Pixels of a box whose last ones belong to it."""
    across, down = (range(int(box[i]), int(box[i + 2]) + 1) for i in (0, 1))
    return set(itertools.product(across, down))


def overlap(a, b):
    """IoU."""
    return len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b))


def share(a, b):
    """How much of box a lies in b."""
    return len(pixels(a) & pixels(b)) / len(pixels(a))


def literal_ap(images, label, threshold, ignore_iof_thr=None):
    """AP of VOC 2007 of one category, None without objects: eleven recalls, step by step."""
    truths, ignored, detections = {}, {}, []
    for index, (truth, found) in enumerate(images):
        truths[index] = list(truth["bboxes"][truth["labels"] == label])
        ignored[index] = list(truth["bboxes_ignore"][truth["labels_ignore"] == label])
        detections += [(row[4], index, row[:4]) for row in found[label]]
    count = sum(map(len, truths.values()))
    if not count:
        return None
    taken, hits, misses, curve = set(), 0, 0, []
    for _, index, box in sorted(detections, key=lambda item: -item[0]):
        boxes = truths[index] + ignored[index]
        if ignore_iof_thr is not None:
            boxes = truths[index]
            matches = any(overlap(box, truth) >= threshold for truth in boxes)
            inside = any(share(box, region) >= ignore_iof_thr for region in ignored[index])
            if inside and not matches:
                continue
        best = max(range(len(boxes)), key=lambda i: overlap(box, boxes[i]), default=None)
        if best is None or overlap(box, boxes[best]) < threshold:
            misses += 1
        elif best < len(truths[index]):
            if (index, best) in taken:
                misses += 1
            else:
                taken.add((index, best))
                hits += 1
        if hits + misses:
            curve.append((hits / count, hits / (hits + misses)))
    # As MMDetection rounds them: 3 of 5 objects do not reach its 0.6, which is 0.6000000000000001.
    levels = np.arange(0, 1.001, 0.1)
    best = [max((p for r, p in curve if r >= level), default=0) for level in levels]
    return sum(best) / 11


_corner = st.integers(0, 12)
_boxes = st.tuples(st.integers(0, 3), _corner, _corner, st.integers(1, 9), st.integers(1, 9)).map(
    lambda v: (v[0], v[1], v[2], v[1] + v[3], v[2] + v[4])
)


@example(
    [*[(0, 0, 0, 1, 1)] * 3, (0, 0, 0, 1, 2), (0, 0, 0, 2, 1)],
    [(0, 0, 0, 1, 1), (0, 0, 0, 1, 2), (0, 0, 0, 2, 1)],
    [],
    None,
)
@settings(max_examples=200, deadline=None)
@given(
    st.lists(_boxes, max_size=8),
    st.lists(_boxes, max_size=10),
    st.lists(_boxes, max_size=3),
    st.sampled_from([None, 0.25, 0.5, 0.7, 1.0]),
)
def test_groups_are_means_over_categories_with_objects(truths, detections, ignored, thr):
    # No two scores alike, or their order would matter.
    scored = [(*box, 1 - 0.05 * index) for index, box in enumerate(detections)]
    images = [image(truths, scored, ignored)]
    # No IoU of such boxes is 0.71; at 0.7 the release of NumPy would decide.
    thresholds = [0.5, 0.71]
    found = metric(ignore_iof_thr=thr, iou_thrs=thresholds).compute_metrics(images)
    for group, threshold in itertools.product(GROUPS, thresholds):
        each = [literal_ap(images, CLASSES.index(name), threshold, thr) for name in GROUPS[group]]
        there = [value for value in each if value is not None]
        expected = sum(there) / len(there) if there else 0.0
        key = f"AP{threshold * 100:.0f}"
        assert found[f"{group}_{key}"] == pytest.approx(expected, abs=5.1e-4), (group, threshold)
        if group == "all":
            assert found[key] == found[f"all_{key}"]


def test_by_hand():
    """Car found exactly, bus at an IoU of 0.6, one of two cats, no cow in the data."""
    truths = [(0, 0, 0, 9, 9), (1, 20, 0, 29, 9), (2, 40, 0, 49, 9), (2, 60, 0, 69, 9)]
    detections = [
        (0, 0, 0, 9, 9, 0.9),
        (1, 20, 0, 29, 5, 0.8),
        (2, 40, 0, 49, 9, 0.7),
        (3, 80, 0, 89, 9, 0.6),
    ]
    # Of eleven recalls the half of the cats reaches six.
    found = metric(iou_thrs=[0.5, 0.6, 0.7]).compute_metrics([image(truths, detections)])
    assert found == {
        "mAP": pytest.approx((2 * (1 + 1 + 6 / 11) / 3 + (1 + 0 + 6 / 11) / 3) / 3, abs=1e-6),
        "AP50": 0.848,
        "AP60": 0.848,
        "AP70": 0.515,
        "rigid_AP50": 1.0,
        "rigid_AP60": 1.0,
        "rigid_AP70": 0.5,
        "nonrigid_AP50": 0.545,
        "nonrigid_AP60": 0.545,
        "nonrigid_AP70": 0.545,
        "all_AP50": 0.848,
        "all_AP60": 0.848,
        "all_AP70": 0.515,
        "one_AP50": 1.0,
        "one_AP60": 1.0,
        "one_AP70": 0.0,
    }


REGION = (0, 100, 0, 199, 99)  # 100 x 100 pixels, ignored for cars
CAR = (0, 0, 0, 9, 9)


@pytest.mark.parametrize(
    ("better", "by_iou", "by_share"),
    [
        # Far smaller than the region, in it: its IoU is 0.01.
        ([(120, 20, 129, 29)], 0.5, 1.0),
        # Half of it lies in the region, which is enough; four tenths are not.
        ([(95, 0, 104, 9)], 0.5, 1.0),
        ([(94, 0, 103, 9)], 0.5, 0.5),
        # All of the region and more: an IoU of 100 / 190, and as large a share.
        ([(100, 0, 199, 189)], 1.0, 1.0),
        # Outside of it.
        ([(50, 50, 59, 59)], 0.5, 0.5),
        # Two in the region, one outside.
        ([(120, 20, 129, 29), (140, 20, 149, 29), (50, 50, 59, 59)], 0.25, 0.5),
    ],
)
def test_detections_in_a_region_to_be_ignored(better, by_iou, by_share):
    """A car is found after detections that score higher: AP is its precision."""
    detections = [(0, *box, 0.9 - 0.1 * index) for index, box in enumerate(better)]
    images = [image([CAR], [*detections, (*CAR, 0.1)], [REGION])]
    for settings_, expected in (({}, by_iou), (dict(ignore_iof_thr=0.5), by_share)):
        found = metric(iou_thrs=[0.5], groups=dict(car=["car"]), **settings_)
        assert found.compute_metrics(images)["car_AP50"] == pytest.approx(expected, abs=5e-4)
        # The same over several images, which MMDetection judges in processes of their own.
        more = found.compute_metrics([*images, image([], [], [])])
        assert more["car_AP50"] == pytest.approx(expected, abs=5e-4)


def test_what_matches_an_object_counts_even_inside_a_region():
    """In a region lie a car found twice, one found badly, and nothing at two other places."""
    within = (0, 110, 10, 119, 19)
    # IoU with the car of 1, 0.8, 0.6 and, of what matches nothing, 0.
    boxes = [(110, 10, 119, 19), (110, 10, 119, 17), (110, 10, 119, 15), (150, 50, 159, 59)]
    detections = np.array([[*box, 0.9 - 0.1 * index] for index, box in enumerate(boxes)])
    truths, regions = np.array([within[1:]], float), np.array([REGION[1:]], float)
    for threshold, wrong in ((0.5, [0, 1, 1, 0]), (0.7, [0, 1, 0, 0]), (0.9, [0, 0, 0, 0])):
        found = tpfp_in_regions(detections, truths, regions, threshold, ignore_iof_thr=0.5)
        assert [part.tolist() for part in found] == [[[1, 0, 0, 0]], [wrong]]
    # An IoU of 0.7 to the last digit is a match or none, depending on NumPy, but never wrong.
    seven = np.array([[110, 10, 119, 16, 0.9]])
    right, wrong = tpfp_in_regions(seven, truths, regions, 0.7, ignore_iof_thr=0.5)
    assert right.tolist() == [[float(np.float32(0.7) >= 0.7)]]
    assert wrong.tolist() == [[0]]
    nothing = np.zeros((0, 4))
    found = tpfp_in_regions(detections, nothing, regions, 0.5, ignore_iof_thr=0.5)
    assert [part.tolist() for part in found] == [[[0, 0, 0, 0]], [[0, 0, 0, 0]]]
    found = tpfp_in_regions(detections, nothing, nothing, 0.5, ignore_iof_thr=0.5)
    assert [part.tolist() for part in found] == [[[0, 0, 0, 0]], [[1, 1, 1, 1]]]
    found = tpfp_in_regions(detections[:0], truths, regions, 0.5, ignore_iof_thr=0.5)
    assert [part.shape for part in found] == [(1, 0), (1, 0)]


def test_a_region_of_another_category_forgives_nothing_and_none_takes_a_car_away():
    truck = (1, *REGION[1:])
    inside = (0, 120, 20, 129, 29, 0.9)
    built = metric(iou_thrs=[0.5], groups=dict(car=["car"]), ignore_iof_thr=0.5)
    found = built.compute_metrics([image([CAR], [inside, (*CAR, 0.1)], [truck])])
    assert found["car_AP50"] == 0.5
    # Equal to a region, with an IoU of 0.8 with a car: by VOC's rule it is the region's.
    images = [image([(0, 0, 0, 9, 9)], [(0, 0, 0, 9, 7, 0.9)], [(0, 0, 0, 9, 7)])]
    assert built.compute_metrics(images)["car_AP50"] == 1.0
    built.ignore_iof_thr = None
    assert built.compute_metrics(images)["car_AP50"] == 0.0


@pytest.mark.parametrize("mode", ["11points", "area"])
def test_the_rest_is_what_mmdetections_metric_says(mode):
    random = np.random.default_rng(3)
    images = []
    for _ in range(3):
        corners = random.integers(0, 40, (12, 2))
        truths = np.c_[np.arange(12) % 4, corners, corners + random.integers(5, 20, (12, 2))]
        moved = truths + np.c_[np.zeros(12), random.integers(-2, 3, (12, 4))]
        images.append(image(truths[:9], np.c_[moved, random.random(12)], truths[9:]))
    theirs = VOCMetric(iou_thrs=[0.5, 0.6, 0.7], eval_mode=mode)
    theirs.dataset_meta = dict(classes=CLASSES)
    expected = theirs.compute_metrics(images)
    ours = metric(iou_thrs=[0.5, 0.6, 0.7], eval_mode=mode).compute_metrics(images)
    assert 0.1 < expected["AP70"] < expected["AP50"] < 1
    assert {key: ours[key] for key in expected} == dict(expected)
    assert set(ours) - set(expected) == {f"{g}_AP{t}" for g in GROUPS for t in (50, 60, 70)}


def test_predictions_of_a_model_pass_through_an_evaluator():
    """As a loop of validation does it: prefixed keys, data samples, ignored objects."""
    evaluator = Evaluator(
        dict(type="GroupedVOCMetric", groups=dict(rigid=["car"]), iou_thrs=0.5, prefix="kitti")
    )
    evaluator.dataset_meta = dict(classes=CLASSES)
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]])
    sample = dict(
        gt_instances=dict(bboxes=boxes[:1], labels=torch.tensor([0])),
        ignored_instances=dict(bboxes=boxes[1:2], labels=torch.tensor([0])),
        pred_instances=dict(
            bboxes=boxes.flip(0)[1:], labels=torch.zeros(2, dtype=int), scores=torch.arange(2) + 0.5
        ),
    )
    evaluator.process([sample])
    assert evaluator.evaluate(1) == {"kitti/mAP": 1.0, "kitti/AP50": 1.0, "kitti/rigid_AP50": 1.0}


def test_group_mean_and_labels():
    of_class = [{"ap": 0.25, "num_gts": 3}, {"ap": 0.0, "num_gts": 0}, {"ap": 0.75, "num_gts": 1}]
    assert group_mean(of_class, [0, 1, 2]) == 0.5
    assert group_mean(of_class, [1, 2]) == 0.75
    assert group_mean(of_class, [1]) == 0.0
    assert group_labels(GROUPS, CLASSES) == dict(
        rigid=[0, 1], nonrigid=[3, 2], all=[0, 1, 2, 3], one=[1]
    )


@pytest.mark.parametrize(
    ("groups", "kwargs", "message"),
    [
        ({}, {}, "groups must be a dict such as"),
        (["car"], {}, "groups must be a dict such as"),
        (dict(rigid=[]), {}, r"groups\['rigid'\] is \[\]; give a list"),
        (dict(rigid="car"), {}, r"groups\['rigid'\] is 'car'; give a list"),
        (dict(rigid=["car", "bus", "car"]), {}, "names a category twice: car, bus, car"),
        ({"": ["car"]}, {}, "its name must be a text"),
        ({3: ["car"]}, {}, "its name must be a text"),
        (GROUPS, dict(metric="recall"), "'recall' has no AP of groups; use 'mAP'"),
        (GROUPS, dict(scale_ranges=[(0, 32)]), "scale_ranges are not supported"),
        (GROUPS, dict(ignore_iof_thr=0), r"ignore_iof_thr is 0; it must be in \(0, 1\], or None"),
        (GROUPS, dict(ignore_iof_thr=-1), r"ignore_iof_thr is -1; it must be in \(0, 1\], or None"),
        (GROUPS, dict(ignore_iof_thr=1.5), r"ignore_iof_thr is 1.5; it must be in \(0, 1\]"),
        (GROUPS, dict(ignore_iof_thr=float("nan")), "ignore_iof_thr is nan; it must be in"),
    ],
)
def test_refuses_when_built(groups, kwargs, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(dict(type="GroupedVOCMetric", groups=groups, **kwargs))


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        (dict(classes=("car", "cat", "cow")), r"groups\['rigid'\] names 'bus', of which the data"),
        (dict(classes=("Car", "Bus")), r"'car', 'bus', of which .* it has Car, Bus"),
        (dict(), "the data set does not say its categories"),
        (dict(classes=()), "the data set does not say its categories"),
    ],
)
def test_refuses_when_it_learns_the_categories(meta, message):
    built = GroupedVOCMetric(GROUPS)
    with pytest.raises(ValueError, match=message):
        built.dataset_meta = meta


class Ones(Dataset):
    def __init__(self, classes=None):
        if classes:
            self.metainfo = dict(classes=classes)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return torch.ones(1)


class Counting(BaseModel):
    """Counts its training steps."""

    steps = 0

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def train_step(self, data, optim_wrapper):
        self.steps += 1
        return {}

    def forward(self, *args, **kwargs):
        raise AssertionError


@pytest.mark.parametrize(("unknown", "steps"), [("tram", 0), ("car", 2)])
def test_a_wrong_name_stops_a_training_before_its_first_step(tmp_path, unknown, steps):
    sampler = dict(type="DefaultSampler", shuffle=False)
    model = Counting()
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(dataset=Ones(), sampler=sampler, batch_size=1),
        train_cfg=dict(by_epoch=False, max_iters=2, val_begin=3),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        val_dataloader=dict(dataset=Ones(CLASSES), sampler=sampler, batch_size=1),
        val_cfg=dict(),
        val_evaluator=dict(type="GroupedVOCMetric", groups=dict(rigid=[unknown])),
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=f"grouped_voc_{unknown}",
        log_level="ERROR",
    )
    if steps:
        runner.train()
    else:
        with pytest.raises(
            ValueError, match=r"names 'tram', of which .* it has car, bus, cat, cow"
        ):
            runner.train()
    assert model.steps == steps


def test_is_found_from_mmdetections_scope():
    from mmdet.registry import METRICS as OF_MMDET

    assert OF_MMDET.get("GroupedVOCMetric") is GroupedVOCMetric
