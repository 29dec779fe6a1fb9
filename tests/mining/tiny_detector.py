"""The smallest detector that the Runner trains: one convolution under a RoI head.

As a program it trains in two processes on the CPU, again from the checkpoint in between, and with
features of one process that are no numbers: ``tiny_detector.py WORK_DIR PORT``. Each process writes
what came of it to ``WORK_DIR/<rank>.json``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel, is_model_wrapper
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from roi_heads import CHANNELS, build, features, samples
from roi_runs import record, samplers
from torch import nn
from torch.utils.data import Dataset

from mmtextplug import launch


@DATASETS.register_module(force=True)
class Seeds(Dataset):
    """Of every number an image: the bare ones without foreground, of broken ones no feature is one.

    In two processes of two images each, odd ones are those of the second process.
    """

    def __init__(self, length: int = 40, bare: list[int] = (), broken: list[int] = ()) -> None:
        self.length, self.bare, self.broken = length, bare, broken

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, seed: int) -> dict:
        return dict(seeds=seed, truths=0 if seed in self.bare else 3, broken=seed in self.broken)


@METRICS.register_module(force=True)
class Rising(BaseMetric):
    """Better each time."""

    times = 0

    def process(self, data_batch, data_samples) -> None:
        self.results.append(0)

    def compute_metrics(self, results) -> dict:
        self.times += 1
        return dict(score=self.times)


@MODELS.register_module(force=True)
class TinyDetector(BaseModel):
    def __init__(self, kind: str, sampler: dict) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.neck = nn.Conv2d(CHANNELS, CHANNELS, 1)
        self.roi_head = build(kind, dict(sampler))
        self.mined = [record(sampler) for sampler in samplers(self.roi_head)]

    def init_weights(self) -> None:
        """They are already."""

    def forward(self, seeds, truths, broken, mode="loss"):
        if mode == "predict":
            return [dict() for _ in seeds]
        parts = [
            (features(1, seed), samples(1, 30, count, seed=seed))
            for seed, count in zip(seeds, truths)
        ]
        feats = tuple(self.neck(torch.cat(level)) for level in zip(*(f for f, _ in parts)))
        # Above the neck, whose own gradient stays a number.
        lost = torch.tensor(broken)[:, None, None, None]
        feats = tuple(level.masked_fill(lost, float("nan")) for level in feats)
        results, data = zip(*(s for _, s in parts))
        return self.roi_head.loss(feats, [r[0] for r in results], [d[0] for d in data])


def config(work_dir: Path, sampler: dict, hook: dict | None, **changes) -> Config:
    cfg = dict(
        model=dict(type="TinyDetector", kind="MiningStandardRoIHead", sampler=sampler),
        work_dir=str(work_dir),
        experiment_name=f"{work_dir.parent.name}_{work_dir.name}",
        default_scope="mmdet",
        train_dataloader=dict(
            batch_size=2,
            dataset=dict(type="Seeds"),
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=12),
        optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=1e-3)),
        default_hooks=dict(
            checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=5),
            logger=dict(type="LoggerHook", interval=1),
        ),
        log_processor=dict(by_epoch=False),
        custom_hooks=[dict(type="StratifiedOHEMHook", **hook)] if hook is not None else [],
        randomness=dict(seed=0),
        log_level="WARNING",
    )
    model = changes.pop("model", {})
    return Config({**cfg, **changes, "model": {**cfg["model"], **model}})


def train(cfg: Config) -> tuple[Runner, dict]:
    """The runner after training, and what it holds that must not depend on how it got there."""
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner, outcome(runner)


def outcome(runner: Runner) -> dict:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    hooks = [h for h in runner.hooks if type(h).__name__ == "StratifiedOHEMHook"]
    return dict(
        states=[asdict(state) for hook in hooks for state in hook.states],
        lr=[rate for hook in hooks for rate in hook._lr],
        weights=[asdict(s.weights) for s in samplers(model.roi_head) if hasattr(s, "weights")],
        mined=model.mined,
        parameters=[float(p.detach().double().sum()) for p in model.parameters()],
        foreground=runner.message_hub.get_scalar("train/mining/foreground").data[0].tolist()
        if "train/mining/foreground" in runner.message_hub.log_scalars
        else [],
    )


def train_as(rank: int, work_dir: Path, port: str) -> None:
    os.environ |= dict(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=port,
    )  # fmt: skip
    sampler = dict(type="StratifiedOHEMSampler", num=8)
    hook = dict(window=4, windows=2, tolerance=1e9, patience=1, ramp_iters=6, interval=1)
    runs = dict(
        whole=({}, dict(bare=list(range(1, 40, 2)))),
        resumed=(dict(resume=True), dict(bare=list(range(1, 40, 2)))),
        broken=(dict(train_cfg=dict(type="IterBasedTrainLoop", max_iters=5)), dict(broken=[5, 7])),
    )
    outcomes = {}
    for name, (changes, data) in runs.items():
        cfg = config(work_dir / name, sampler, hook, launcher="pytorch", **changes)
        cfg.train_dataloader.dataset.update(data)
        if "resume" in changes:
            cfg.load_from = str(work_dir / "whole" / "iter_5.pth")
        if not torch.distributed.is_initialized():
            launch.adapt_to_cpu(cfg)
            wrapper = cfg.model_wrapper_cfg
        cfg.model_wrapper_cfg = wrapper
        outcomes[name] = train(cfg)[1]
    (work_dir / f"{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    # Forked after all was imported, which takes longer than the training.
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target=train_as, args=(rank, Path(sys.argv[1]), sys.argv[2]))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    sys.exit(max(abs(process.exitcode) for process in processes))
