"""The head against MMOCR's, and what it adds: strides, the threshold map in predictions, halves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner.checkpoint import load_checkpoint
from mmengine.structures import InstanceData
from mmocr.models.textdet.heads import DBHead
from mmocr.structures import TextDetDataSample
from torch import nn

from mmtextplug.db.head import DifferentiableBinarizationHead

LOSS = {"type": "DBModuleLoss"}
BOXES = {
    "type": "DifferentiableBinarizationPostprocessor",
    "min_text_score": 0.0,
    "keep_score_maps": True,
}
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(scope="module", autouse=True)
def mmocr_scope():
    with DefaultScope.overwrite_default_scope("mmocr"):
        yield


def make(channels: int = 16, **kwargs) -> DifferentiableBinarizationHead:
    torch.manual_seed(0)
    return MODELS.build(
        {
            "type": "DifferentiableBinarizationHead",
            "in_channels": channels,
            "module_loss": LOSS,
            "postprocessor": BOXES,
            **kwargs,
        }
    )


def theirs(channels: int = 16, **kwargs) -> DBHead:
    torch.manual_seed(1)
    return DBHead(channels, module_loss=LOSS, postprocessor={"type": "DBPostprocessor"}, **kwargs)


def features(channels: int = 16, size: tuple[int, int] = (5, 7)) -> torch.Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(2))


def sample(size: tuple[int, int]) -> TextDetDataSample:
    """A sample with one word that fills the middle of an image."""
    height, width = size
    meta = {"img_shape": size, "batch_input_shape": size, "scale_factor": (1.0, 1.0)}
    left, top, right, bottom = width // 4, height // 4, 3 * width // 4, 3 * height // 4
    made = TextDetDataSample(metainfo=meta)
    made.gt_instances = InstanceData(
        polygons=[np.array([left, top, right, top, right, bottom, left, bottom], np.float32)],
        ignored=torch.zeros(1, dtype=torch.bool),
    )
    return made


# --- MMOCR's head ------------------------------------------------------------------------------


@pytest.mark.parametrize("with_bias", [False, True])
def test_checkpoints_of_mmocrs_head_load_strictly_and_give_the_same_maps(tmp_path, with_bias):
    published = theirs(with_bias=with_bias).train()
    # Not the flat maps of fresh weights: differences of both signs.
    nn.init.normal_(published.binarize[6].weight, std=2)
    for _ in range(3):  # statistics that a batch norm must not ignore
        published(features(), mode="loss")
    published.eval()
    torch.save({"state_dict": published.state_dict()}, tmp_path / "dbhead.pth")
    ours = make(with_bias=with_bias).eval()
    load_checkpoint(ours, str(tmp_path / "dbhead.pth"), strict=True)
    state = ours.state_dict()
    assert {k: v.shape for k, v in state.items()} == {
        k: v.shape for k, v in published.state_dict().items()
    }
    with torch.no_grad():
        expected = published(features(), mode="both")
        found = ours(features(), mode="both")
        predicted = ours(features())
    assert torch.equal(found[0], expected[0])  # the logits of P
    assert torch.equal(found[1], expected[1])  # T
    torch.testing.assert_close(found[2], expected[2], atol=1e-6, rtol=1e-5)  # B, by another formula
    assert torch.equal(found[3][:, 0], expected[3])  # P
    assert torch.equal(found[3][:, 1], expected[1])
    assert torch.equal(predicted, found[3])
    assert expected[2].std() > 0.1


def test_an_untrained_head_begins_where_mmocrs_does():
    """The layer names in the initialisation of ``DBHead`` fit no layer: it changes nothing."""
    ours = make()
    torch.manual_seed(0)
    published = DBHead(16, module_loss=LOSS, postprocessor={"type": "DBPostprocessor"})
    for head in (ours, published):
        head.init_weights()
    expected = published.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())


def test_the_loss_gets_logits_threshold_and_binary_map():
    head = make()

    class Listener(nn.Module):
        def forward(self, maps, samples):
            return {"maps": maps, "samples": samples}

    head.module_loss = Listener()
    heard = head.loss(features(), ["sample"])
    assert heard["samples"] == ["sample"]
    logits, threshold, binary = heard["maps"]
    assert logits.shape == threshold.shape == binary.shape == (2, 20, 28)
    assert logits.min() < 0
    difference = logits.sigmoid() - threshold
    torch.testing.assert_close(binary, 1 / (1 + torch.exp(-50 * difference)), atol=1e-6, rtol=1e-4)


def test_losses_and_predictions_of_one_pass():
    head = make().eval()
    samples = [sample((20, 28)) for _ in range(2)]
    with torch.no_grad():
        losses, predicted = head.loss_and_predict(features(), samples)
        alone = head.loss(features(), [sample((20, 28)) for _ in range(2)])
        boxes = head.predict(features(), [sample((20, 28)) for _ in range(2)])
    assert set(losses) == {"loss_prob", "loss_thr", "loss_db"}
    assert {k: v.item() for k, v in losses.items()} == {k: v.item() for k, v in alone.items()}
    for one, other in zip(predicted, boxes):
        assert len(one.pred_instances.polygons) == len(other.pred_instances.polygons) > 0
        assert torch.equal(one.pred_instances.scores, other.pred_instances.scores)


def test_the_threshold_is_computed_for_those_alone_who_use_it():
    torch.manual_seed(0)
    head = make(postprocessor={"type": "DBPostprocessor", "text_repr_type": "quad"}).eval()
    head.threshold[0].register_forward_hook(lambda *_: pytest.fail("T was computed"))
    with torch.no_grad():
        probability = head(features())
        assert probability.shape == (2, 20, 28)
        assert torch.equal(probability, head.binarize(features()).squeeze(1).sigmoid())
        # MMOCR's own post-processor takes it.
        found = head.predict(features(), [sample((20, 28)) for _ in range(2)])
    assert all("polygons" in one.pred_instances for one in found)
    for rules in (dict(binarize="binary"), dict(keep_score_maps=True)):
        kind = "DifferentiableBinarizationPostprocessor"
        assert make(postprocessor=dict(type=kind, **rules))(features()).shape == (2, 2, 20, 28)
    assert make(postprocessor=dict(type=kind))(features()).shape == (2, 20, 28)


# --- what it adds ------------------------------------------------------------------------------


@pytest.mark.parametrize(("upsample", "transposed"), [(4, [3, 6]), (2, [6]), (1, [])])
def test_maps_are_so_many_times_larger_than_the_features(upsample, transposed):
    head = make(upsample=upsample)
    maps = head(features(), mode="both")
    height, width = 5 * upsample, 7 * upsample
    assert [tuple(m.shape) for m in maps] == [(2, height, width)] * 3 + [(2, 2, height, width)]
    for branch in (head.binarize, head.threshold):
        kinds = {i: type(layer) for i, layer in enumerate(branch)}
        assert [i for i, kind in kinds.items() if kind is nn.ConvTranspose2d] == transposed
        assert [i for i, kind in kinds.items() if kind in (nn.Conv2d, nn.ConvTranspose2d)] == [
            0, 3, 6
        ]  # fmt: skip
    assert set(head.state_dict()) == set(theirs().state_dict())
    maps[2].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())


def test_a_pixel_sees_its_own_neighbourhood_only():
    """Each of the three layers reaches a pixel further where it keeps the size."""
    head = make(upsample=1).eval()
    with torch.no_grad():
        here = features(size=(11, 11))
        there = here.clone()
        there[..., 5, 5] += 1
        changed = (head(here) != head(there)).flatten(0, 1).any(0).nonzero()
    assert changed.min(0).values.tolist() == [2, 2]
    assert changed.max(0).values.tolist() == [8, 8]


@pytest.mark.parametrize("k", [1.0, 50, 200])
def test_steepness_of_the_binary_map(k):
    head = make(k=k).double()
    logits, threshold, binary = head(features().double(), mode="loss")
    expected = 1 / (1 + torch.exp(-k * (logits.sigmoid() - threshold)))
    torch.testing.assert_close(binary, expected)
    slope = torch.autograd.grad(binary.sum(), threshold)[0]
    torch.testing.assert_close(slope, -k * expected * (1 - expected))


def saturate(head: nn.Module) -> None:
    """P and T 1 and 0, or 0 and 1: differences for which exp(-k (P - T)) overflows in halves."""
    with torch.no_grad():
        for branch, sign in ((head.binarize, 1), (head.threshold, -1)):
            branch[6].weight.mul_(200 * sign)
            branch[6].bias.zero_()


def skip_unless_cpus_convolve(dtype: torch.dtype) -> None:
    """Older releases of PyTorch convolve halves on GPUs alone."""
    x = torch.zeros(1, 4, 2, 2, dtype=dtype)
    try:
        nn.ConvTranspose2d(4, 1, 2, 2).to(dtype)(nn.Conv2d(4, 4, 1).to(dtype)(x))
    except RuntimeError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_halves_stay_finite_at_the_ends_of_the_range(dtype):
    skip_unless_cpus_convolve(dtype)
    head = make()
    saturate(head)
    head = head.to(dtype)
    x = features().to(dtype).requires_grad_()
    logits, threshold, binary = head(x, mode="loss")
    difference = (logits.sigmoid() - threshold).detach().float()
    assert difference.max() > 0.9
    assert difference.min() < -0.9
    assert binary.dtype == dtype
    assert binary.isfinite().all()
    assert binary[difference > 0.5].min() == 1
    assert binary[difference < -0.5].max() < 1e-6
    (binary.float().mean() + threshold.float().mean() + logits.sigmoid().float().mean()).backward()
    assert x.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_mmocrs_formula_is_not_finite_there():
    skip_unless_cpus_convolve(torch.float16)
    head = theirs()
    saturate(head)
    head = head.to(torch.float16)
    x = features().half().requires_grad_()
    head(x, mode="loss")[2].float().sum().backward()
    assert not x.grad.isfinite().all()


def test_autocast_to_bfloat16_is_close_to_float32():
    head = make().eval()
    with torch.no_grad():
        exact = head(features())
        with torch.autocast("cpu", torch.bfloat16):
            rough = head(features())
    assert rough.isfinite().all()
    assert (rough.float() - exact).abs().max() < 0.02


@pytest.mark.parametrize("upsample", [0, 3, 8, None])
def test_other_sizes_are_refused(upsample):
    with pytest.raises(ValueError, match=rf"upsample must be 4, 2 or 1, got {upsample}"):
        make(upsample=upsample)


def test_other_modes_are_refused():
    with pytest.raises(ValueError, match=r"mode must be .* got 'tensor'"):
        make()(features(), mode="tensor")
