"""Mining leaves no trace: statistics, losses that count, modes, random numbers."""

from __future__ import annotations

import pytest
import torch
from roi_heads import (
    CLASSES,
    box_head,
    build,
    features,
    samples,
)
from roi_runs import (
    each_image,
    pools_of,
    sample,
)
from torch import nn

OURS = dict(type="RoIOHEMSampler", num=16)
THEIRS = dict(type="OHEMSampler", num=16, pos_fraction=0.25)


def head_with_everything_that_could_change(sampler: dict):
    """Batch statistics, a loss that counts, and dropout."""
    own = box_head(
        type="Shared4Conv1FCBBoxHead", conv_out_channels=8, norm_cfg=dict(type="BN"),
        loss_cls=dict(type="SeesawLoss", num_classes=CLASSES),
    )  # fmt: skip
    head = build("StandardRoIHead", sampler, own)
    head.bbox_head.shared_fcs[0] = nn.Sequential(head.bbox_head.shared_fcs[0], nn.Dropout(0.5))
    return head


def state(head) -> dict[str, torch.Tensor]:
    # cum_samples of the Seesaw loss and the means of the batch norm are among them.
    values = {**dict(head.named_parameters()), **dict(head.named_buffers())}
    assert any("cum_samples" in name for name in values)
    assert any("running_mean" in name for name in values)
    return {name: value.detach().clone() for name, value in values.items()}


@pytest.mark.parametrize("dropout", [False, True])
def test_buffers_weights_modes_and_random_numbers_stay(dropout):
    head = head_with_everything_that_could_change({**OURS, "dropout": dropout})
    feats, data = features(), samples()
    before, random = state(head), torch.get_rng_state()
    modes = [part.training for part in head.modules()]
    sample(head, *data, feats)
    after = state(head)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in head.modules()] == modes
    assert all(modes)


def test_the_sampler_of_mmdetection_leaves_traces():
    head = head_with_everything_that_could_change(
        {**THEIRS, "num": 8, "loss_key": "loss_cls_objectness"}
    )
    before = state(head)
    sample(head, *samples(), features())
    changed = {name.split(".")[-1] for name, value in state(head).items()
               if not torch.equal(value, before[name])}  # fmt: skip
    assert {"cum_samples", "running_mean", "running_var"} <= changed


def test_dropout_makes_the_losses_noisy_only_if_it_is_asked_for():
    feats, data = features(), samples()
    for dropout in (False, True):
        head = head_with_everything_that_could_change({**OURS, "dropout": dropout})
        pools = pools_of(head, *data)
        torch.manual_seed(0)
        first = head.bbox_sampler.stage.losses(feats, pools)[0].cls
        torch.rand(3)
        second = head.bbox_sampler.stage.losses(feats, pools)[0].cls
        assert torch.equal(first, second) != dropout


def test_statistics_of_the_batch_do_not_reach_the_scores():
    head = head_with_everything_that_could_change(OURS)
    feats, data = features(), samples()
    together = head.bbox_sampler.stage.losses(feats, pools_of(head, *data))[0]
    head.eval()
    alone = [
        head.bbox_sampler.stage.losses(own, pools_of(head, data[0][n : n + 1], data[1][n : n + 1]))
        for n, own in enumerate(each_image(feats))
    ]
    # Seesaw weighs by what it counted, the rest is of every RoI alone.
    assert torch.allclose(torch.cat([part[0].loc for part in alone]), together.loc, rtol=1e-4)


# --- statistics of several processes ------------------------------------------------------------


class Waits(nn.BatchNorm2d):
    """Where SyncBN would wait for the other processes, it counts."""

    def __init__(self, features: int) -> None:
        super().__init__(features)
        self.waited = 0

    def forward(self, values):
        self.waited += self.training
        return super().forward(values)


def with_norms(kind: str, norm: type[nn.Module], sampler: dict):
    own = box_head(type="Shared4Conv1FCBBoxHead", conv_out_channels=8, norm_cfg=dict(type="BN"))
    head = build(kind, sampler, own)
    norms = []
    for part in list(head.modules()):
        for name, child in part.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(part, name, norm(8))
                norms.append(getattr(part, name))
    return head.train(), norms


@pytest.mark.parametrize("truths", [0, 3])
@pytest.mark.parametrize("kind", ["StandardRoIHead", "CascadeRoIHead"])
@pytest.mark.parametrize("mining", ["", "Mining"])
def test_no_process_waits_for_another_to_mine(mining, kind, truths):
    sampler = {**OURS, "chunk": 10}
    head, norms = with_norms(mining + kind, Waits, sampler)
    head.loss(features(), *samples(truths=truths))
    # Once, to train; not by image, by chunk, or by what is found.
    assert [norm.waited for norm in norms] == [1] * (4 if kind.startswith("Standard") else 8)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
@pytest.mark.parametrize("kind", ["StandardRoIHead", "MiningStandardRoIHead"])
def test_statistics_are_of_the_selected_alone(kind, norm, monkeypatch):
    if norm is nn.SyncBatchNorm:
        # On the CPU it refuses to train, and old ones to run.
        monkeypatch.setattr(norm, "forward", nn.BatchNorm2d.forward)
    head, norms = with_norms(kind, norm, OURS)
    before = [{k: v.clone() for k, v in norm.state_dict().items()} for norm in norms]
    head.bbox_sampler.mines_at_once = False
    chosen = sample(head, *samples(), features())
    for norm, values in zip(norms, before):
        assert all(torch.equal(v, values[k]) for k, v in norm.state_dict().items())
    # A plain head that is trained on the selected comes to the same statistics.
    plain, own = with_norms("StandardRoIHead", type(norms[0]), dict(type="PseudoSampler"))
    plain.bbox_loss(features(), chosen)
    head.bbox_sampler.mines_at_once = kind.startswith("Mining")
    head.loss(features(), *samples())
    for norm, other in zip(norms, own):
        assert int(norm.num_batches_tracked) == int(other.num_batches_tracked) == 1
        assert torch.equal(norm.running_mean, other.running_mean)
        assert torch.equal(norm.running_var, other.running_var)
