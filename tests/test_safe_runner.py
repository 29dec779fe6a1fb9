"""The runner of the tools: what it resumes from and starts from, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from mmengine.model import BaseModel
from torch import nn
from torch.utils.data import DataLoader

from mmtextplug.safe_load import safe_load
from mmtextplug.safe_runner import SafeRunner


class Line(BaseModel):
    """y = a x, learned from x = 1, 2, 3, ... and y = 2 x."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(self.scale.weight)

    def forward(self, inputs: torch.Tensor, mode: str) -> dict:
        return {"loss": (self.scale(inputs) - 2 * inputs).square().mean()}


def runner(work_dir, iters: int, **settings) -> SafeRunner:
    return SafeRunner(
        Line(),
        str(work_dir),
        train_dataloader=DataLoader([{"inputs": torch.tensor([float(x)])} for x in range(1, 4)]),
        train_cfg=dict(by_epoch=False, max_iters=iters, val_interval=99),
        optim_wrapper=dict(optimizer=dict(type="Adam", lr=0.1)),
        param_scheduler=dict(type="PolyLR", eta_min=0, power=0.9, by_epoch=False, end=8),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=2, by_epoch=False)),
        log_level="ERROR",
        default_scope="mmengine",
        experiment_name=f"{work_dir.name}_{iters}_{len(settings)}",
        **settings,
    )


def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path):
    # Six steps of eight, then the rest from the file: Adam's moments and the schedule included.
    whole, parts = runner(tmp_path / "whole", 8), runner(tmp_path / "parts", 6)
    whole.train()
    parts.train()
    again = runner(tmp_path / "parts", 8, resume=True)
    again.train()
    assert again.iter == 8
    assert torch.equal(again.model.scale.weight, whole.model.scale.weight)
    assert not torch.equal(parts.model.scale.weight, whole.model.scale.weight)
    assert again.message_hub.get_scalar("train/loss").data[0].size == 8


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_no_code_of_a_checkpoint_is_run_on_resuming(tmp_path):
    runner(tmp_path, 2).train()
    path, mark = tmp_path / "iter_2.pth", tmp_path / "mark"
    checkpoint = torch.load(path, **({} if torch.__version__ < "2" else {"weights_only": False}))
    checkpoint["message_hub"]["runtime_info"]["bomb"] = Bomb(mark)
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"iter_2\.pth: refused: it holds more than tensors"):
        runner(tmp_path, 4, resume=True).train()
    assert not mark.exists()


def test_the_config_in_a_checkpoint_is_not_run(tmp_path):
    runner(tmp_path, 2).train()
    path, mark = tmp_path / "iter_2.pth", tmp_path / "mark"
    checkpoint = safe_load(path)
    checkpoint["meta"]["config"] = f"import os\nos.mkdir({str(mark)!r})\n"
    torch.save(checkpoint, path)
    again = runner(tmp_path, 4, resume=True)
    again.train()
    assert again.iter == 4
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"scale.weight": torch.ones(1, 1)}, "without the state of a training to resume"),
        ([torch.ones(1, 1)], "without the state of a training to resume"),
        (
            {"meta": {}, "message_hub": {}, "state_dict": {"scale.weight": torch.ones(2, 1)}},
            r"does not fit this model: 1 differ in shape \(such as scale.weight is \(2, 1\)",
        ),
        (
            {"meta": {}, "message_hub": {}, "state_dict": {"other": torch.ones(2, 1)}},
            "1 parameters are missing .*1 are not in the model",
        ),
    ],
)
def test_what_cannot_be_resumed_from_is_named(tmp_path, content, message):
    path = tmp_path / "given.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"given\.pth: .*{message}"):
        runner(tmp_path, 4, resume=True, load_from=str(path)).train()


def test_a_training_starts_from_parameters_alone(tmp_path):
    path = tmp_path / "given.pth"
    torch.save({"module.scale.weight": torch.full((1, 1), 2.0)}, path)
    start = runner(tmp_path, 2, load_from=str(path))
    start.train()
    assert start.iter == 2
    assert start.model.scale.weight.item() == pytest.approx(2.0, abs=1e-6)  # the solution


def test_a_test_goes_through_the_fast_network_and_leaves_the_model(tmp_path, monkeypatch):
    from mmengine.evaluator import BaseMetric

    from mmtextplug.inference import network

    class Maps(BaseModel):
        """Tells the mean of what it predicts, by a network that `accelerate` can copy."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Conv2d(3, 1, 1, bias=False)
            self.norm = nn.BatchNorm2d(1, eps=0)
            self.det_head = nn.Identity()
            self.det_head.forward = lambda features, samples=None: features
            self.det_head.postprocessor = lambda maps, samples: [float(maps.mean())]

        def extract_feat(self, inputs):
            return self.norm(self.scale(inputs))

        def forward(self, inputs, data_samples=None, mode="predict"):
            return self.predict(inputs, data_samples)

        def predict(self, inputs, data_samples):
            return [float("nan")]  # not this one

    class Mean(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += data_samples

        def compute_metrics(self, results):
            return {"mean": results[0]}

    model = Maps()
    nn.init.ones_(model.scale.weight)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    torch.save(state, tmp_path / "w.pth")
    made = []
    original = network.TorchNetwork
    monkeypatch.setattr(network, "TorchNetwork", lambda *args: made.append(args) or original(*args))
    start = SafeRunner(
        model,
        str(tmp_path),
        test_dataloader=DataLoader([{"inputs": torch.ones(3, 32, 32)}]),
        test_evaluator=Mean(),
        test_cfg=dict(),
        load_from=str(tmp_path / "w.pth"),
        log_level="ERROR",
        default_scope="mmengine",
        experiment_name=f"{tmp_path.name}_fast",
    )
    start.strict_load, start.fast_test = True, dict(precision="float32")
    assert start.test()["mean"] == pytest.approx(3.0)
    assert [args[1:] for args in made] == [("float32", False)]
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
