"""The link refiner against an independent statement of the published one, and its checkpoints."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmtextplug.checkpoint import load_fitting_weights, load_weights
from mmtextplug.craft.head import CRAFTHead
from mmtextplug.craft.link_refiner import LinkRefiner
from mmtextplug.craft.teacher import Teacher
from mmtextplug.craft.weights import load_craft_weights, load_refiner_weights

MODEL = dict(
    type="CRAFT",
    backbone=dict(
        type="mmdet.ResNet", depth=18, base_channels=4, num_stages=2, strides=(1, 2),
        dilations=(1, 1), out_indices=(0, 1), norm_eval=False,
    ),
    neck=dict(type="CRAFTDecoder", in_channels=[4, 8], out_channels=[8, 32]),
)  # fmt: skip
HEAD = dict(
    type="CRAFTHead",
    in_channels=32,
    module_loss=dict(type="CRAFTModuleLoss"),
    postprocessor=dict(type="CRAFTPostprocessor"),
)
REFINER = dict(type="LinkRefiner")


class Published(nn.Module):
    """The published refiner, restated; it returns maps as (N, H, W, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.last_conv = nn.Sequential(
            *self.block(34, 64, 3, 1), *self.block(64, 64, 3, 1), *self.block(64, 64, 3, 1)
        )
        for number, reach in enumerate((6, 12, 18, 24), 1):
            branch = nn.Sequential(
                *self.block(64, 128, 3, reach), *self.block(128, 128, 1, 1), nn.Conv2d(128, 1, 1)
            )
            setattr(self, f"aspp{number}", branch)

    @staticmethod
    def block(inner: int, outer: int, kernel: int, reach: int) -> list[nn.Module]:
        padding = reach if kernel == 3 else 0
        conv = nn.Conv2d(inner, outer, kernel, padding=padding, dilation=reach)
        return [conv, nn.BatchNorm2d(outer), nn.ReLU()]

    def forward(self, y: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        x = self.last_conv(torch.cat([y.permute(0, 3, 1, 2), features], 1))
        out = self.aspp1(x) + self.aspp2(x) + self.aspp3(x) + self.aspp4(x)
        return out.permute(0, 2, 3, 1)


def craft(refiner: dict | None = REFINER, **kwargs) -> nn.Module:
    with DefaultScope.overwrite_default_scope("mmocr"):
        head = dict(HEAD, link_refiner=refiner, **kwargs.pop("head", {}))
        return MODELS.build(dict(MODEL, det_head=head, **kwargs))


def values(state: dict) -> dict:
    """A state dict with values of its own."""
    generator = torch.Generator().manual_seed(5)
    return {
        name: torch.rand(value.shape, generator=generator) + 0.1
        if value.is_floating_point()
        else torch.full_like(value, 7)
        for name, value in state.items()
    }


@pytest.fixture
def published(tmp_path):
    """A refiner with values of its own, and the file that the authors' code would have saved."""
    refiner = Published().eval()
    refiner.load_state_dict(values(refiner.state_dict()))
    path = tmp_path / "craft_refiner_CTW1500.pth"
    torch.save({f"module.{k}": v for k, v in refiner.state_dict().items()}, path)
    return refiner, path


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_are_as_many_as_published():
    assert count(LinkRefiner()) == count(Published()) == 457_924


def test_a_published_checkpoint_gives_the_published_scores(published):
    refiner, path = published
    model = craft().eval()
    before = {k: v.clone() for k, v in model.state_dict().items() if "link_refiner" not in k}
    load_craft_weights(model, path)
    features = torch.randn(2, 32, 37, 53)
    with torch.no_grad():
        found = model.det_head(features)
        y = model.det_head.conv_cls(features)
        expected = refiner(y.permute(0, 2, 3, 1), features)
    assert found.shape == (2, 3, 37, 53)
    assert torch.equal(found[:, :2], y)
    torch.testing.assert_close(found[:, 2], expected[..., 0], rtol=1e-4, atol=1e-4)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    # Not equal by chance: the scores differ from pixel to pixel.
    assert expected.std() > 1e-3


def test_a_head_without_refiner_is_the_published_one():
    head = craft(refiner=None).det_head
    assert head.link_refiner is None
    assert head(torch.zeros(1, 32, 5, 7)).shape == (1, 2, 5, 7)
    assert isinstance(head, CRAFTHead)


def test_other_widths_and_reaches():
    small = LinkRefiner(in_channels=8, channels=4, dilations=(1, 3))
    assert small(torch.zeros(2, 2, 9, 11), torch.zeros(2, 8, 9, 11)).shape == (2, 1, 9, 11)
    assert len(small.aspp) == 2


def test_maps_too_small_for_the_widest_branch_work():
    refiner = LinkRefiner().eval()
    assert refiner(torch.zeros(1, 2, 1, 1), torch.zeros(1, 32, 1, 1)).shape == (1, 1, 1, 1)


# --- checkpoints -------------------------------------------------------------------------------


def refused(load, model, path, match: str) -> None:
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=match) as caught:
        load(model, path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())


@pytest.mark.parametrize("load", [load_craft_weights, load_weights, load_refiner_weights])
def test_a_refiner_has_no_place_in_a_model_without_one(published, load):
    message = r"holds the weights of a link refiner.*det_head\.link_refiner=dict"
    refused(load, craft(refiner=None), published[1], message)


def test_nor_has_a_craft_with_refiner(tmp_path):
    path = tmp_path / "both.pth"
    torch.save(craft().state_dict(), path)
    for load in (load_craft_weights, load_weights):
        refused(load, craft(refiner=None), path, "holds the weights of a link refiner")


def test_a_craft_leaves_the_refiner_alone_where_it_is_loaded_part_by_part(published, tmp_path):
    plain = craft(refiner=None)
    state = values(plain.state_dict())
    path = tmp_path / "craft.pth"
    torch.save(state, path)
    model = craft()
    load_craft_weights(model, published[1])
    load_craft_weights(model, path)
    found = model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    refiner = {k: v for k, v in found.items() if k not in state}
    assert len(refiner) == len(published[0].state_dict())
    wanted = published[0].state_dict()["aspp3.4.running_var"]
    assert torch.equal(refiner["det_head.link_refiner.aspp.2.4.running_var"], wanted)


def test_a_model_that_is_to_be_used_as_it_is_needs_both(published, tmp_path):
    path = tmp_path / "craft.pth"
    torch.save(craft(refiner=None).state_dict(), path)
    refused(load_weights, craft(), path, "has no link refiner, which this model needs")
    refused(load_weights, craft(), published[1], "without its CRAFT")


def test_training_of_a_refiner_starts_from_a_craft_without_one(tmp_path):
    state = values(craft(refiner=None).state_dict())
    path = tmp_path / "craft.pth"
    torch.save({"state_dict": state}, path)
    model = craft(frozen=True, head=dict(module_loss=dict(type="LinkRefinerModuleLoss")))
    load_fitting_weights(model, path)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in state.items())


def test_a_refiner_of_fewer_branches_is_no_missing_one(published, tmp_path):
    path = tmp_path / "few.pth"
    torch.save(craft(dict(REFINER, dilations=(6, 12))).state_dict(), path)
    missing = r"does not fit .* missing .such as det_head.link_refiner.aspp.2"
    refused(load_weights, craft(), path, missing)
    torch.save(craft().state_dict(), path)
    few = craft(dict(REFINER, dilations=(6, 12)))
    refused(load_weights, few, path, r"does not fit .* are not in the model .such as .*aspp.2")


def test_a_refiner_of_another_width(published):
    message = "differ in shape .such as det_head.link_refiner"
    refused(load_craft_weights, craft(dict(REFINER, channels=8)), published[1], message)


# --- freezing ----------------------------------------------------------------------------------


def test_frozen_only_the_refiner_learns_and_keeps_statistics():
    model = craft(frozen=True, head=dict(module_loss=dict(type="LinkRefinerModuleLoss")))
    learning = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {f"det_head.link_refiner.{n}" for n, _ in LinkRefiner().named_parameters()}
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    features = model.extract_feat(torch.randn(2, 3, 32, 32))
    assert not features.requires_grad
    scores = model.det_head(features)
    scores[:, 2].sum().backward()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert changed
    assert all(name.startswith("det_head.link_refiner") for name in changed)
    assert {n for n, p in model.named_parameters() if p.grad is not None} == learning
    assert not any(m.training for m in model.eval().modules())


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="frozen=True leaves nothing to train"):
        craft(refiner=None, frozen=True)


def test_contradictions_are_refused():
    both = dict(type="LinkRefinerModuleLoss", craft_loss=dict(type="CRAFTModuleLoss"))
    with pytest.raises(ValueError, match="contradict each other"):
        craft(frozen=True, head=dict(module_loss=both))
    with pytest.raises(ValueError, match=r"3 score maps instead of region and affinity"):
        craft().det_head.module_loss(torch.zeros(1, 3, 8, 8), [])
    with pytest.raises(ValueError, match="one branch at least"):
        LinkRefiner(dilations=())


def test_a_teacher_of_pseudo_labels_has_no_refiner(tmp_path):
    student = craft()
    teacher = Teacher(student, momentum=0.5)
    assert teacher.module.det_head.link_refiner is None
    assert student.det_head.link_refiner is not None
    with torch.no_grad():
        for value in student.state_dict().values():
            value += 1
    before = {k: v.clone() for k, v in teacher.module.state_dict().items()}
    teacher.follow(student, 1)
    for name, value in teacher.module.state_dict().items():
        now = student.state_dict()[name]
        wanted = (before[name] + now) / 2 if value.is_floating_point() else now
        torch.testing.assert_close(value, wanted)
    assert teacher.region(torch.zeros(1, 3, 32, 32)).shape == (1, 16, 16)


def test_a_craft_that_nothing_holds_in_place_is_refused():
    loss = dict(type="LinkRefinerModuleLoss")
    with pytest.raises(ValueError, match=r"set model\.frozen=True, or module_loss\.craft_loss"):
        craft(head=dict(module_loss=loss))
    both = dict(loss, craft_loss=dict(type="CRAFTModuleLoss"))
    model = craft(head=dict(module_loss=both))
    assert all(parameter.requires_grad for parameter in model.parameters())
