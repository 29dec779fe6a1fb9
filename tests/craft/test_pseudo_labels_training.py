"""The hook around a real, small CRAFT: what the network in training and the log get of it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmocr.structures import TextDetDataSample
from torch import nn
from torch.utils.data import DataLoader

from mmtextplug.craft.pseudo_labels import PseudoCharLabelHook
from mmtextplug.craft.teacher import Teacher


@pytest.fixture
def model_config(repository: Path) -> dict:
    init_default_scope("mmocr")
    model = Config.fromfile(repository / "configs/craft/craft_resnet18_demo.py").model
    model.backbone.base_channels = 8
    model.neck.update(in_channels=[8, 16, 32], out_channels=[16, 8, 8])
    model.det_head.in_channels = 8
    return model


@pytest.fixture
def model(model_config: dict) -> nn.Module:
    torch.manual_seed(0)
    return MODELS.build(model_config).train()


def sample(words: list[tuple[str, bool]], seed: int) -> dict:
    """An image of noise, 64 x 96, with a row for each word; its characters may be given."""
    instances = InstanceData()
    instances.texts = [text for text, _ in words]
    tops = 4 + 20 * np.arange(len(words))
    quads = [
        np.array(
            [[5 + 8 * i, top], [13 + 8 * i, top], [13 + 8 * i, top + 14], [5 + 8 * i, top + 14]]
        )
        for (text, _), top in zip(words, tops)
        for i in range(len(text))
    ]
    ends = np.cumsum([len(text) for text, _ in words])
    chars = np.split(np.array(quads, np.float32).reshape(-1, 4, 2), ends[:-1]) if words else []
    instances.polygons = [
        np.stack([c[0, 0], c[-1, 1], c[-1, 2], c[0, 3]]).astype(np.float32).ravel() for c in chars
    ]
    instances.chars = [c if given else None for c, (_, given) in zip(chars, words)]
    instances.char_confidence = np.array([given for _, given in words], np.float32)
    instances.ignored = np.zeros(len(words), bool)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8, generator=generator)
    return {
        "inputs": image,
        "data_samples": TextDetDataSample(
            gt_instances=instances, metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96))
        ),
    }


def batch_of(*samples: dict) -> dict:
    return pseudo_collate(list(samples))


def started(model: nn.Module, wrapper: OptimWrapper | None = None, **settings):
    hub = MessageHub(f"training_{id(model)}")
    run = SimpleNamespace(model=model, iter=0, message_hub=hub, optim_wrapper=wrapper)
    hook = PseudoCharLabelHook(**settings)
    hook.before_train(run)
    return hook, run


def step(model: nn.Module, batch: dict) -> list[torch.Tensor]:
    """A training step; returns the gradients."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    loss, _ = model.parse_losses(losses)
    loss.backward()
    optimizer.step()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("kind", ["ema", "copy", "frozen"])
def test_the_network_in_training_gets_the_labels_and_nothing_else(model, kind):
    batch = batch_of(
        sample([("house", False), ("cat", True)], 0), sample([("a bcd", False)], 1), sample([], 2)
    )
    alone = deepcopy(model)
    before = deepcopy(model.state_dict())
    hook, run = started(model, teacher=kind, momentum=0.5)
    random = torch.get_rng_state()
    hook.before_train_iter(run, 0, batch)
    assert torch.equal(torch.get_rng_state(), random)
    words = [s.gt_instances for s in batch["data_samples"][:2]]
    assert [[len(chars) for chars in w.chars] for w in words] == [[5, 3], [4]]
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    same = deepcopy(batch)
    gradients = step(model, batch)
    hook.after_train_iter(run, 0)
    expected = step(alone, same)
    assert all(torch.equal(left, right) for left, right in zip(gradients, expected))
    state, lone = model.state_dict(), alone.state_dict()
    assert all(torch.equal(state[key], lone[key]) for key in lone)
    # It was a step: weights and BatchNorm statistics have moved, the latter once.
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    assert counters
    assert all(state[key] == 1 for key in counters)
    assert not torch.equal(state["det_head.conv_cls.8.bias"], before["det_head.conv_cls.8.bias"])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", torch.bfloat16), (None, torch.float16), ("no amp", None)],
)
def test_the_teacher_runs_in_the_type_of_mixed_precision(model, dtype, expected, monkeypatch):
    module = "mmengine.optim.optimizer.amp_optimizer_wrapper"
    monkeypatch.setattr(f"{module}.is_cuda_available", lambda: True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if dtype == "no amp":
        wrapper = OptimWrapper(optimizer)
    else:
        wrapper = AmpOptimWrapper(dtype=dtype, optimizer=optimizer)
    asked, inside, outcome = [], [], []
    region = Teacher.region

    def spied(self, crops, amp=None):
        asked.append(amp)
        # Float16 is for GPUs: older versions of PyTorch do not run it on the CPU.
        maps = region(self, crops, None if amp is torch.float16 else amp)
        outcome.append(maps.dtype)
        return maps

    monkeypatch.setattr(Teacher, "region", spied)
    hook, run = started(model, wrapper, teacher="frozen")
    hook.teacher.module.det_head.register_forward_hook(lambda *a: inside.append(a[-1].dtype))
    batch = batch_of(sample([("house", False)], 0))
    hook.before_train_iter(run, 0, batch)
    assert asked == [expected]
    assert inside == [torch.bfloat16 if expected is torch.bfloat16 else torch.float32]
    assert outcome == [torch.float32]
    words = batch["data_samples"][0].gt_instances
    assert words.chars[0].shape == (5, 4, 2)
    assert words.chars[0].dtype == np.float32
    # Mixed precision ends with the labels.
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    assert model.det_head.conv_cls[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("interval", "words", "left_out"),
    [(1, {1: 3, 2: 0}, {1: 0, 2: 0}), (2, {2: 1.5}, {2: 0})],
)
def test_tensorboard_gets_the_means(model_config, tmp_path, interval, words, left_out):
    """Two steps of the real runner: three words to label, then none."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    samples = [
        sample([("house", False), ("cat", True)], 0),
        sample([("ab", False), ("bcd", False)], 1),
        sample([("cat", True)], 2),
        sample([], 3),
    ]
    runner = Runner(
        model=model_config,
        work_dir=str(tmp_path),
        train_dataloader=DataLoader(samples, batch_size=2, collate_fn=pseudo_collate),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=2),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=interval), checkpoint=None),
        # Where nothing passes the threshold every word is cut into equal parts.
        custom_hooks=[dict(type="PseudoCharLabelHook", foreground=0.99)],
        log_processor=dict(by_epoch=False),
        visualizer=dict(
            type="mmengine.Visualizer", vis_backends=[dict(type="TensorboardVisBackend")]
        ),
        default_scope="mmocr",
        experiment_name=f"tensorboard_{tmp_path.name}",
    )
    for parameter in runner.model.det_head.conv_cls[8].parameters():
        nn.init.zeros_(parameter)
    runner.train()
    runner.visualizer.close()
    (events,) = tmp_path.glob("*/vis_data/events.out.tfevents.*")
    read = accumulators.EventAccumulator(str(events)).Reload()

    def curve(name: str) -> dict[int, float]:
        return {event.step: event.value for event in read.Scalars(name)}

    first = min(words)
    assert curve("pseudo_words") == words
    assert curve("pseudo_left_out") == left_out
    assert curve("pseudo_confidence") == {first: 0.5}
    assert curve("pseudo_equal_split") == {first: 1}
    assert curve("pseudo_length_error") == {first: 1}
    assert curve("loss").keys() == words.keys()
