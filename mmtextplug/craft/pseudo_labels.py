"""Weak supervision: before each training step a teacher finds the characters of annotated words."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmtextplug.checkpoint import load_weights
from mmtextplug.craft.char_split import BACKGROUND, FOREGROUND, Split, split_word
from mmtextplug.craft.rectify import VERTICAL
from mmtextplug.craft.teacher import Teacher
from mmtextplug.craft.word_crops import (
    DIVISOR,
    WordCrop,
    buckets,
    cut_out,
    words_without_characters,
)

SAVED_AS = "pseudo_char_label_teacher"
"""Where the teacher lies in a checkpoint."""
# So many steps in a row without any character found, and the user hears of it.
_BLIND_STEPS = 50


@dataclass(frozen=True)
class WordLabel:
    """The characters that a teacher found in a word.

    Attributes:
        crop (WordCrop): The word.
        region (np.ndarray): ``(h, w)`` region score of the rectified word.
        split (Split): Its characters in pixels of the region score.
        chars (np.ndarray): ``(n, 4, 2)`` float32, in pixels of the image.
    """

    crop: WordCrop
    region: np.ndarray
    split: Split
    chars: np.ndarray


class WordLabeller:
    """Finds characters in words of known outline and text with a teacher's region score.

    Args:
        crop_height (int): Height in pixels that words are rectified to. 96 and 128 find some more
            characters and cost two and four times as much.
        max_zoom (float): Small words are enlarged no further than this, rounded up to a multiple of
            32 pixels: enlarging costs the teacher's time and shows it nothing new.
        max_crop_width (int): Longer words are squeezed.
        crop_pixels (int): Pixels of words that the teacher sees at once.
        foreground, background (float): See `mmtextplug.craft.char_split.split_word`. Teachers whose
            scores stay low need a lower foreground.
        vertical (float): See `mmtextplug.craft.rectify.word_band`.
        unknown_confidence (float): Confidence of words whose text is unknown.
        threads (int): Threads that split words.
    """

    def __init__(
        self,
        crop_height: int = 64,
        max_zoom: float = 2.0,
        max_crop_width: int = 1024,
        crop_pixels: int = 2_000_000,
        foreground: float = FOREGROUND,
        background: float = BACKGROUND,
        vertical: float = VERTICAL,
        unknown_confidence: float = 0.5,
        threads: int = 4,
    ) -> None:
        for name, value in (
            ("crop_height", crop_height),
            ("max_zoom", max_zoom),
            ("max_crop_width", max_crop_width),
            ("threads", threads),
        ):
            if not value >= 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        if not 0 <= unknown_confidence <= 1:
            raise ValueError(f"unknown_confidence={unknown_confidence} must be in [0, 1]")
        if not 0 <= background <= foreground:
            raise ValueError(f"background={background} must be in [0, foreground={foreground}]")
        self.crop_height, self.max_zoom = crop_height, max_zoom
        self.max_crop_width, self.crop_pixels = max_crop_width, crop_pixels
        self.vertical = vertical
        self.thresholds = dict(foreground=foreground, background=background)
        self.unknown_confidence = unknown_confidence
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="split_word")

    def label(
        self,
        teacher: Teacher,
        images: Tensor,
        crops: Sequence[WordCrop],
        amp: torch.dtype | None = None,
    ) -> list[WordLabel]:
        """Characters of words, in their order.

        Args:
            teacher (Teacher): Gives the region score.
            images (Tensor): ``(B, 3, H, W)``, normalised.
            crops (Sequence[WordCrop]): See `words_without_characters`.
            amp (torch.dtype, optional): Type that the teacher runs in.
        """
        sizes = [self.size(crop) for crop in crops]
        maps = []
        with torch.inference_mode():
            for bucket in buckets(sizes, self.crop_pixels):
                batch = cut_out(images, [crops[i] for i in bucket], [sizes[i] for i in bucket])
                scores = teacher.region(batch, amp)
                strides = [side / cells for side, cells in zip(batch.shape[2:], scores.shape[1:])]
                maps.append((bucket, scores, strides))
            # The device works on all of them before the host waits for the first.
            futures = {
                index: self.pool.submit(self._finish, crops[index], sizes[index], score, strides)
                for bucket, scores, strides in maps
                for index, score in zip(bucket, scores.cpu().numpy())
            }
        return [futures[index].result() for index in range(len(crops))]

    def size(self, crop: WordCrop) -> tuple[int, int]:
        """Width and height that a word is rectified to, in pixels."""
        enough = DIVISOR * math.ceil(self.max_zoom * crop.band.height / DIVISOR)
        return crop.band.size(min(self.crop_height, enough), self.max_crop_width)

    def _finish(
        self, crop: WordCrop, size: tuple[int, int], score: np.ndarray, strides: Sequence[float]
    ) -> WordLabel:
        height, width = (max(round(side / stride), 1) for side, stride in zip(size[::-1], strides))
        region = score[:height, :width]
        split = split_word(region, crop.places, **self.thresholds)
        chars = crop.band.to_image(split.quads, (width, height)).astype(np.float32)
        return WordLabel(crop, region, split, chars)

    def confidence(self, label: WordLabel) -> float:
        """How far a word's characters are to be believed."""
        return self.unknown_confidence if label.crop.places is None else label.split.confidence


@HOOKS.register_module()
class PseudoCharLabelHook(Hook):
    """Fills in the characters of words that have an outline and a text only (CRAFT paper, 3.2.2).

    Before each training step the words of the batch whose characters are unknown are rectified from
    the augmented images, a teacher predicts their region scores in batches, a watershed finds the
    characters, and ``gt_instances.chars`` and ``gt_instances.char_confidence`` are filled in. A
    batch in which all characters are known costs nothing. The teacher is saved with each checkpoint
    and resumed; in distributed training each process labels its own batch, with the same teacher.

    ``train/pseudo_words``, ``pseudo_confidence``, ``pseudo_equal_split`` (share of words cut into
    equal parts) and ``pseudo_length_error`` (mean of |found - length| / length) of each step go to
    the log.

    Args:
        teacher (str): ``'ema'``: the moving average of the network in training; ``'copy'``: a copy,
            renewed every ``interval`` steps; ``'frozen'``: never changes.
        checkpoint (str, optional): What the teacher starts from. Default: from the network's own
            weights at the beginning, so from ``load_from``.
        momentum (float): Share of the network that each update of ``'ema'`` takes over.
        interval (int): Training steps between updates.
        start (int): The teacher stays as it is for so many steps.
        labeller (dict): Settings of `WordLabeller`.
    """

    def __init__(
        self,
        teacher: str = "ema",
        checkpoint: str | None = None,
        momentum: float = 0.001,
        interval: int = 1,
        start: int = 0,
        **labeller,
    ) -> None:
        self.settings = dict(kind=teacher, momentum=momentum, interval=interval, start=start)
        Teacher(nn.Identity(), **self.settings)  # wrong settings show before anything is loaded
        self.checkpoint = checkpoint
        self.labeller = WordLabeller(**labeller)
        self.teacher: Teacher | None = None
        self._restored = False
        self._blind = 0
        self._hopeless = 0

    def before_run(self, runner: Runner) -> None:
        """Make the teacher; a checkpoint that does not fit is found before the training starts."""
        student = _plain(runner.model)
        if not hasattr(student, "det_head"):
            raise ValueError(
                f"PseudoCharLabelHook: the model is a {type(student).__name__}, not a CRAFT: its "
                "region score is needed to find characters"
            )
        self.teacher = Teacher(student, **self.settings)
        if self.checkpoint is not None:
            if not Path(self.checkpoint).is_file():
                raise FileNotFoundError(
                    f"{self.checkpoint}: no such file (checkpoint of PseudoCharLabelHook)"
                )
            load_weights(self.teacher.module, self.checkpoint)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the teacher from a checkpoint that is resumed from."""
        if SAVED_AS in checkpoint and self.teacher is not None:
            self.teacher.module.load_state_dict(checkpoint[SAVED_AS])
            self._restored = True

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the teacher beside the network."""
        checkpoint[SAVED_AS] = {
            key: value.to("cpu", copy=True)
            for key, value in self.teacher.module.state_dict().items()
        }

    def before_train(self, runner: Runner) -> None:
        """Start from the network as it was loaded, unless the teacher has weights of its own."""
        if not self._restored and self.checkpoint is None:
            self.teacher.become(_plain(runner.model))
            if runner.iter:
                print_log(
                    "PseudoCharLabelHook: no teacher in the checkpoint that was resumed from: it "
                    "starts as a copy of the network",
                    logger="current",
                    level=logging.WARNING,
                )

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Label the words of a batch, in place."""
        samples = data_batch["data_samples"]
        if any("gt_score_maps" in sample for sample in samples):
            raise ValueError(
                "PseudoCharLabelHook: GaussianCharLabels has drawn the labels already, before "
                "there were characters. Leave it out of the pipeline: the loss draws them."
            )
        crops, hopeless = words_without_characters(samples, vertical=self.labeller.vertical)
        self._report_hopeless(hopeless)
        if not crops:
            return
        wanted = sorted({crop.image for crop in crops})
        place = {image: index for index, image in enumerate(wanted)}
        images = self._prepared([data_batch["inputs"][image] for image in wanted], runner)
        moved = [WordCrop(place[crop.image], crop.word, crop.band, crop.places) for crop in crops]
        labels = self.labeller.label(self.teacher, images, moved, _amp_type(runner))
        for crop, label in zip(crops, labels):
            self._write(samples[crop.image], crop.word, label)
        self._log(runner, labels)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Let the teacher follow."""
        self.teacher.follow(_plain(runner.model), runner.iter + 1)

    def _prepared(self, images: Sequence[Tensor], runner: Runner) -> Tensor:
        preprocessor = _plain(runner.model).data_preprocessor
        with torch.no_grad():
            data = preprocessor({"inputs": list(images), "data_samples": []}, training=False)
        return data["inputs"]

    def _write(self, sample: BaseDataElement, word: int, label: WordLabel) -> None:
        instances = sample.gt_instances
        instances.chars[word] = label.chars
        instances.char_confidence[word] = self.labeller.confidence(label)

    def _log(self, runner: Runner, labels: Sequence[WordLabel]) -> None:
        known = [label for label in labels if label.crop.places is not None]
        hub = runner.message_hub
        hub.update_scalar("train/pseudo_words", len(labels))
        confidence = [self.labeller.confidence(label) for label in labels]
        hub.update_scalar("train/pseudo_confidence", float(np.mean(confidence)))
        if known:
            lengths = [sum(label.crop.places) for label in known]
            errors = [
                abs(label.split.found - length) / length for label, length in zip(known, lengths)
            ]
            hub.update_scalar(
                "train/pseudo_equal_split", float(np.mean([k.split.equal for k in known]))
            )
            hub.update_scalar("train/pseudo_length_error", float(np.mean(errors)))
        self._blind = 0 if any(label.split.found for label in labels) else self._blind + 1
        if self._blind == _BLIND_STEPS:
            print_log(
                f"PseudoCharLabelHook: the teacher has found no character in {_BLIND_STEPS} steps; "
                "all words are cut into equal parts. Train on character boxes first, start from a "
                f"trained checkpoint, or lower foreground={self.labeller.thresholds['foreground']}",
                logger="current",
                level=logging.WARNING,
            )

    def _report_hopeless(self, count: int) -> None:
        if count and not self._hopeless:
            print_log(
                "PseudoCharLabelHook: words without area or without a visible character in their "
                "text are left out of training (said once)",
                logger="current",
                level=logging.WARNING,
            )
        self._hopeless += count


def _plain(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _amp_type(runner: Runner) -> torch.dtype | None:
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, AmpOptimWrapper):
        return None
    return wrapper.cast_dtype or torch.float16
