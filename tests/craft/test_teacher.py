"""The teacher: what it takes over, when, and that it leaves the network in training alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmtextplug.craft.teacher import Teacher


class Small(nn.Module):
    """One layer of each kind, under the names of a detector."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
        self.det_head = nn.AvgPool2d(2)

    def extract_feat(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(x)


def student(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    model = Small()
    for value in model.state_dict().values():
        value.copy_(torch.rand(value.shape) * 9 if value.is_floating_point() else value + 7)
    return model


def state(model: nn.Module) -> dict:
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_a_moving_average_by_hand():
    first, second = student(0), student(1)
    second.backbone[1].num_batches_tracked.fill_(99)
    teacher = Teacher(first, "ema", momentum=0.25)
    before, target = state(first), state(second)
    teacher.follow(second, 1)
    for key, value in teacher.module.state_dict().items():
        if value.is_floating_point():
            expected = 0.75 * before[key] + 0.25 * target[key]
            torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    assert teacher.module.backbone[1].num_batches_tracked == 99  # a count has no average
    teacher.follow(second, 2)
    weight = "backbone.0.weight"
    expected = 0.5625 * before[weight] + 0.4375 * target[weight]
    torch.testing.assert_close(teacher.module.state_dict()[weight], expected)


@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        (dict(kind="frozen"), []),
        (dict(kind="copy", interval=3), [3, 6, 9]),
        (dict(kind="copy", interval=2, start=3), [5, 7, 9]),
        (dict(kind="ema", momentum=1.0, start=8), [9, 10]),
    ],
)
def test_when_it_follows(settings, updates):
    first, second = student(0), student(1)
    teacher = Teacher(first, **settings)
    seen = []
    for step in range(1, 11):
        teacher.module.load_state_dict(first.state_dict())
        teacher.follow(second, step)
        now, target = state(teacher.module), state(second)
        if all(torch.equal(now[key], target[key]) for key in now):
            seen.append(step)
        else:
            assert all(torch.equal(now[key], value) for key, value in state(first).items())
    assert seen == updates


def test_it_is_a_copy_that_leaves_the_student_alone():
    model = student().train()
    before = state(model)
    teacher = Teacher(model).train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    images, random_state = torch.rand(2, 3, 4, 6), torch.random.get_rng_state()
    region = teacher.region(images)
    assert region.shape == (2, 2, 3)
    assert region.dtype == torch.float32
    assert not region.requires_grad
    assert torch.equal(torch.random.get_rng_state(), random_state)  # no dropout was drawn
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())
    reference = copy.deepcopy(model).eval()
    expected = reference.det_head(reference.backbone(images))[:, 0]
    torch.testing.assert_close(region, expected.detach())
    half = teacher.region(images, torch.bfloat16)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, region, rtol=0.05, atol=0.5)
    assert not torch.equal(half, region)


def test_becoming_the_student():
    first, second = student(0), student(1)
    teacher = Teacher(first, "frozen")
    teacher.become(second)
    assert all(torch.equal(v, state(second)[k]) for k, v in state(teacher.module).items())
    second.backbone[0].weight.data.zero_()
    assert teacher.module.backbone[0].weight.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kind="mean"), "teacher='mean' is none of ema, copy, frozen"),
        (dict(momentum=0), "momentum=0 "),
        (dict(momentum=1.5), r"momentum=1\.5 "),
        (dict(interval=0), "interval=0 "),
        (dict(start=-1), "start=-1 "),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Teacher(student(), **settings)
