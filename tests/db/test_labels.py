"""Targets drawn in the data workers: those of the loss, by the same settings, or refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from db_samples import IGNORED, SIZE, WORD, run, sample
from mmengine.registry import TRANSFORMS, DefaultScope

from mmtextplug.db.loss import DifferentiableBinarizationLoss
from mmtextplug.db.targets import db_targets


@pytest.fixture(autouse=True)
def mmocr_scope():
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


def test_maps_drawn_in_the_workers_give_the_same_loss():
    outlines = [WORD, IGNORED, [1, 1, 5, 1, 5, 5, 1, 5]]
    results = dict(
        img=np.zeros((*SIZE, 3), np.uint8), img_shape=SIZE, ori_shape=SIZE, img_path="a.png",
        gt_polygons=[np.array(p, np.float32) for p in outlines],
        gt_ignored=np.array([False, True, False]), gt_bboxes=np.zeros((3, 4), np.float32),
        gt_bboxes_labels=np.zeros(3, np.int64), gt_texts=["a", "b", "c"],
        valid_polygon=np.array([[3, 2], [60, 2], [60, 45], [3, 40]], np.float32),
    )  # fmt: skip
    drawn = TRANSFORMS.build(dict(type="DifferentiableBinarizationLabels")).transform(dict(results))
    assert drawn["gt_db_targets"]["threshold"].dtype == np.float32
    assert drawn["gt_db_targets"]["mask"].dtype == bool
    packer = TRANSFORMS.build(dict(type="PackCharInputs"))
    loss = DifferentiableBinarizationLoss()
    batches = []
    for entry in (results, drawn):
        first = packer.transform(entry)["data_samples"]
        first.set_metainfo(dict(batch_input_shape=(64, 64)))
        batches.append([first])
    assert "gt_db_targets" in batches[1][0]
    (plain, *grads), (stored, *others) = (run(loss, b, size=(64, 64)) for b in batches)
    for name in ("loss_prob", "loss_db", "loss_thr"):
        assert plain[name].item() == stored[name].item()
    assert all(torch.equal(a, b) for a, b in zip(grads, others))
    # At another stride the workers draw for that stride; 9 pixels of the input are enough there.
    results["gt_polygons"][2] = np.array([4, 31, 26, 31, 26, 40, 4, 40], np.float32)
    half = TRANSFORMS.build(dict(type="DifferentiableBinarizationLabels", stride=2))
    stored = packer.transform(half.transform(dict(results)))["data_samples"]
    plain = packer.transform(results)["data_samples"]
    maps = [loss.get_targets([s], (24, 32))[0] for s in (plain, stored)]
    assert all(torch.equal(a, b) for a, b in zip(*maps))
    assert maps[0].kernel[0, 17, 8] == 1
    # Maps for another stride, or by other settings, are refused.
    with pytest.raises(ValueError, match=r"a\.png: .* drew maps of \(24, 32\) .* \(48, 64\)"):
        loss.get_targets([stored], SIZE)
    with pytest.raises(ValueError, match="both the same settings"):
        DifferentiableBinarizationLoss(shrink_ratio=0.5).get_targets([stored], (24, 32))


def test_the_settings_of_targets_reach_them():
    loss = DifferentiableBinarizationLoss(shrink_ratio=0.6, thr_min=0.1, thr_max=0.8)
    targets, _ = loss.get_targets([sample(WORD)], SIZE)
    expected = db_targets([WORD], [False], SIZE, shrink_ratio=0.6, thr_min=0.1, thr_max=0.8)
    assert all(torch.equal(a, b) for a, b in zip(targets, expected))
    assert targets.threshold.max() > 0.75
    drawn = TRANSFORMS.build(
        dict(type="DifferentiableBinarizationLabels", shrink_ratio=0.6, thr_min=0.1, thr_max=0.8)
    ).transform(
        dict(img=np.zeros((*SIZE, 3), np.uint8), gt_polygons=[np.array(WORD, np.float32)],
             gt_ignored=np.array([False]))
    )  # fmt: skip
    for name, plane in expected._asdict().items():
        np.testing.assert_array_equal(drawn["gt_db_targets"][name], plane.numpy())


def test_labels_need_a_stride():
    with pytest.raises(ValueError, match="stride=0 must be 1 or more"):
        TRANSFORMS.build(dict(type="DifferentiableBinarizationLabels", stride=0))
