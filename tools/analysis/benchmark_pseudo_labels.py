#!/usr/bin/env python
"""Time `PseudoCharLabelHook` against the training step that it precedes.

    python tools/analysis/benchmark_pseudo_labels.py --words 10 50

For each number of words an image it takes pictures of generated text, hides their characters, and
times

- a training step (forward, loss, backward, optimizer) with all characters known;
- the hook's work before and after it: words rectified, the teacher's forward, splitting, the rest;
- one forward a word at a crop height of 128 pixels, as public trainers do it, on a sample of the
  words, extrapolated to all of them.

Times of a GPU are read after it has finished; on a CPU with --threads 1 they are processor time,
which tells the same on a busy machine. The parts of the labelling are timed in runs of their
own, in which the GPU is waited for between them; their sum is therefore a little more than the
labelling of runs that nobody interrupts, which the share of the step is computed from. Without
--config it is the official network, with the official weights: what it does with generated text is
what it does with photos. The weights of a config's network are random unless --checkpoint is given;
splitting then has unlikely maps to work on, rectifying and the teacher's forward cost the same.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.registry import HOOKS, MODELS, init_default_scope
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from mmtextplug import launch
from mmtextplug.checkpoint import load_weights
from mmtextplug.craft import word_labeller
from mmtextplug.craft.char_split import split_word
from mmtextplug.craft.pseudo_labels import PseudoCharLabelHook
from mmtextplug.craft.weights import load_craft_weights, official_weights
from mmtextplug.craft.word_crops import WordCrop, cut_out, words_without_characters
from mmtextplug.datasets.generated_text import GeneratedTextDataset
from mmtextplug.inference import OFFICIAL

PARTS = ("rectify", "teacher", "split", "follow", "rest")
SINGLE_HEIGHT, MAX_WIDTH = 128, 1024


@dataclass(frozen=True)
class Times:
    """Milliseconds a batch.

    Attributes:
        words (int): Words labelled.
        step (float): A training step.
        labelling (float): The hook's work, not interrupted.
        parts (dict[str, float]): The same in its `PARTS`, the device waited for between them.
        single (float): One forward a word.
        sampled (int): Words that ``single`` was extrapolated from.
    """

    words: int
    step: float
    labelling: float
    parts: dict[str, float]
    single: float
    sampled: int


class Clock:
    """Milliseconds of calls, with a device that works on while the host goes ahead."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # All threads of the process together: right only if there is one at work at a time.
        alone = device.type == "cpu" and torch.get_num_threads() == 1
        self._read = time.process_time if alone else time.perf_counter
        self.spent: dict[str, float] = {}

    def now(self) -> float:
        """Milliseconds, once the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return 1e3 * self._read()

    def time(self, function: Callable[[], object]) -> float:
        start = self.now()
        function()
        return self.now() - start

    def watch(self, name: str, function: Callable) -> Callable:
        """The same function, whose time is added to ``spent[name]``."""

        def watched(*args, **kwargs):
            start = self.now()
            result = function(*args, **kwargs)
            self.spent[name] = self.spent.get(name, 0.0) + self.now() - start
            return result

        return watched


@contextmanager
def watched(hook: PseudoCharLabelHook, clock: Clock) -> Iterator[None]:
    """Have the clock add up what a hook does inside ``label``."""
    owners = [(word_labeller, "cut_out"), (hook.teacher, "region"), (hook.labeller, "label")]
    before = [getattr(owner, name) for owner, name in owners]
    for (owner, name), function in zip(owners, before):
        setattr(owner, name, clock.watch(name, function))
    try:
        yield
    finally:
        for (owner, name), function in zip(owners, before):
            if owner is word_labeller:
                setattr(owner, name, function)
            else:
                delattr(owner, name)  # the method of the class shows again


def make_batch(images: int, words: int, size: int, seed: int) -> dict:
    """Pictures of generated text with their characters, as a data loader gives them.

    Exactly ``words`` words an image: where a picture is too small for so many, some count twice.
    """
    dataset = GeneratedTextDataset(
        num_samples=images,
        seed=seed,
        size=size,
        renderer=dict(words_per_image=(words, words), char_height=(10, 40)),
        pipeline=[Repeat(words), dict(type="LoadCharAnnotations"), dict(type="PackCharInputs")],
    )
    items = [dataset[index] for index in range(images)]
    return {key: [item[key] for item in items] for key in ("inputs", "data_samples")}


class Repeat:
    """Words again and again, until there are so many."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, results: dict) -> dict:
        words = results["instances"]
        if not words:
            raise ValueError(f"no word fits a picture of {results['height']} pixels: raise --size")
        results["instances"] = [words[i % len(words)] for i in range(self.count)]
        return results


def without_characters(batch: dict) -> dict:
    """The batch as it is when only words are annotated."""
    samples = copy.deepcopy(batch["data_samples"])
    for sample in samples:
        count = len(sample.gt_instances)
        sample.gt_instances.chars = [None] * count
        sample.gt_instances.char_confidence = np.zeros(count, np.float32)
    return {"inputs": batch["inputs"], "data_samples": samples}


def make_model(cfg: Config, checkpoint: str | None) -> nn.Module:
    """The network of a config, in training; with its weights, if they are known."""
    init_default_scope(cfg.get("default_scope", "mmocr"))
    model = MODELS.build(cfg.model)
    if checkpoint:
        load_weights(model, checkpoint)
    elif cfg.model == OFFICIAL["model"]:
        load_craft_weights(model, official_weights())
    return model.train()


def make_runner(cfg: Config, model: nn.Module, amp: bool) -> SimpleNamespace:
    """What the hook and a training step need of a runner."""
    settings = copy.deepcopy(cfg.get("optim_wrapper") or dict(optimizer=dict(type="Adam", lr=1e-5)))
    settings["type"] = "AmpOptimWrapper" if amp else "OptimWrapper"
    return SimpleNamespace(
        model=model,
        iter=0,
        message_hub=MessageHub("benchmark_pseudo_labels"),
        optim_wrapper=build_optim_wrapper(model, settings),
    )


def time_labelling(
    hook: PseudoCharLabelHook, runner: SimpleNamespace, batch: dict, clock: Clock, repeats: int
) -> tuple[float, dict[str, float]]:
    """Median time of the hook's work for a batch; and of the parts, in the median of other runs."""

    def before() -> None:
        hook.before_train_iter(runner, 0, fresh)

    def after() -> None:
        hook.after_train_iter(runner, 0)

    whole, runs = [], []
    for interrupted in [False] * (repeats + 1) + [True] * repeats:
        fresh = without_characters(batch)
        if not interrupted:
            whole.append(clock.time(lambda: (before(), after())))
            continue
        clock.spent.clear()
        with watched(hook, clock):
            labelled, followed = clock.time(before), clock.time(after)
        rectify, teacher, label = (clock.spent[name] for name in ("cut_out", "region", "label"))
        values = rectify, teacher, label - rectify - teacher, followed, labelled - label
        runs.append(dict(zip(PARTS, values)))
    runs.sort(key=lambda parts: sum(parts.values()))
    return statistics.median(whole[1:]), runs[len(runs) // 2]


def time_single(
    hook: PseudoCharLabelHook, runner: SimpleNamespace, batch: dict, clock: Clock, sample: int
) -> tuple[float, int]:
    """One forward a word, of a batch: extrapolated from words of all widths; and how many."""
    crops, _ = words_without_characters(without_characters(batch)["data_samples"])
    crops.sort(key=lambda crop: crop.band.size(SINGLE_HEIGHT)[0])
    places = np.linspace(0, len(crops) - 1, min(sample, len(crops))).round().astype(int)
    chosen = [crops[i] for i in places]
    data = {"inputs": list(batch["inputs"]), "data_samples": []}
    with torch.no_grad():
        images = runner.model.data_preprocessor(data, training=False)["inputs"]
    amp = torch.float16 if isinstance(runner.optim_wrapper, AmpOptimWrapper) else None

    def label(crop: WordCrop) -> None:
        width, height = crop.band.size(SINGLE_HEIGHT, MAX_WIDTH)
        with torch.inference_mode():
            scores = hook.teacher.region(cut_out(images, [crop], [(width, height)]), amp)
        split_word(scores[0].cpu().numpy()[: height // 2, : (width + 1) // 2], crop.places)

    label(chosen[len(chosen) // 2])
    spent = clock.time(lambda: [label(crop) for crop in chosen])
    return spent * len(crops) / len(chosen), len(chosen)


def measure(
    cfg: Config,
    runner: SimpleNamespace,
    hook: PseudoCharLabelHook,
    words: int,
    args: argparse.Namespace,
) -> Times:
    """All times for a number of words an image."""
    clock = Clock(torch.device(args.device))
    batch = make_batch(args.batch_size, words, args.size, args.seed)

    def step() -> None:
        runner.model.train_step(copy.deepcopy(batch), runner.optim_wrapper)

    steps = [clock.time(step) for _ in range(args.repeats + 1)][1:]
    labelling, parts = time_labelling(hook, runner, batch, clock, args.repeats)
    single, sampled = time_single(hook, runner, batch, clock, args.sample)
    total = sum(len(sample.gt_instances) for sample in batch["data_samples"])
    return Times(total, statistics.median(steps), labelling, parts, single, sampled)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", help="config file; default: the official CRAFT")
    parser.add_argument("--checkpoint", help="checkpoint file; default: official or random weights")
    parser.add_argument("--size", type=int, default=768, metavar="PX", help="sides of images (768)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images; 1, or 8 on a GPU")
    parser.add_argument("--words", type=int, nargs="+", default=[10, 50], metavar="N")
    parser.add_argument("--crop-height", type=int, metavar="PX", help="default: the hook's")
    parser.add_argument(
        "--repeats", type=int, metavar="N", help="the median counts; 2, 10 on a GPU"
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="words seen one by one; 8, or 100 on a GPU"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ...; default: a GPU if there is one")
    parser.add_argument("--amp", action="store_true", help="mixed precision, on a GPU")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of PyTorch and splitting")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures")
    args = parser.parse_args(argv)
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_cpu = torch.device(args.device).type == "cpu"
    for name, here, there in (("batch_size", 1, 8), ("repeats", 2, 10), ("sample", 8, 100)):
        if getattr(args, name) is None:
            setattr(args, name, here if on_cpu else there)
    if min(*args.words, args.size, args.batch_size, args.repeats, args.sample) < 1:
        parser.error("numbers must be 1 or more")
    if args.amp and on_cpu:
        parser.error("--amp needs a GPU")
    return args


def benchmark(args: argparse.Namespace) -> list[Times]:
    """Times for each number of words."""
    settings = {}
    if args.threads:
        torch.set_num_threads(args.threads)
        cv2.setNumThreads(args.threads)
        settings["threads"] = args.threads
    if args.crop_height:
        settings["crop_height"] = args.crop_height
    cfg = launch.load_config(args.config) if args.config else Config(copy.deepcopy(OFFICIAL))
    model = make_model(cfg, args.checkpoint).to(args.device)
    runner = make_runner(cfg, model, args.amp)
    hook = HOOKS.build(dict(type="PseudoCharLabelHook", **settings))
    hook.before_train(runner)
    numbers = track(args.words, "timing", console=Console(stderr=True))
    return [measure(cfg, runner, hook, words, args) for words in numbers]


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    report(benchmark(args), args)


def report(times: Sequence[Times], args: argparse.Namespace) -> None:
    """Print one table, a column for each number of words."""
    where = (
        torch.cuda.get_device_name(args.device)
        if args.device != "cpu"
        else (f"CPU, {torch.get_num_threads()} thread(s)")
    )
    console = Console()
    console.print(
        f"{args.batch_size} x {args.size}x{args.size}, {where}{', AMP' if args.amp else ''}; "
        "milliseconds a batch"
    )
    table = Table()
    table.add_column("words an image")
    for words in args.words:
        table.add_column(str(words), justify="right")
    rows: list[tuple[str, Callable[[Times], str]]] = [
        ("training step", lambda t: f"{t.step:.1f}"),
        ("labelling", lambda t: f"{t.labelling:.1f}"),
        ("  share of the step", lambda t: f"{t.labelling / t.step:.1%}"),
        ("labelling, in parts", lambda t: f"{sum(t.parts.values()):.1f}"),
        ("  rectifying", lambda t: f"{t.parts['rectify']:.1f}"),
        ("  teacher's forward", lambda t: f"{t.parts['teacher']:.1f}"),
        ("  splitting", lambda t: f"{t.parts['split']:.1f}"),
        ("  teacher's update", lambda t: f"{t.parts['follow']:.1f}"),
        ("  the rest", lambda t: f"{t.parts['rest']:.1f}"),
        ("one forward a word, 128 px", lambda t: f"{t.single:.1f}"),
        ("  words timed", lambda t: f"{t.sampled} of {t.words}"),
        ("  share of the step", lambda t: f"{t.single / t.step:.1%}"),
        ("  over ours", lambda t: f"{t.single / t.labelling:.1f}x"),
    ]
    for name, value in rows:
        table.add_row(name, *(value(t) for t in times))
    console.print(table)


if __name__ == "__main__":
    launch.run(main)
