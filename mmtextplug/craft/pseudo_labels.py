"""Weak supervision: before each training step a teacher finds the characters of annotated words."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from mmengine.hooks import Hook, LoggerHook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from mmtextplug.checkpoint import fill
from mmtextplug.cpu_amp import CPUAmpOptimWrapper
from mmtextplug.craft.teacher import Teacher
from mmtextplug.craft.weights import load_detector_weights
from mmtextplug.craft.word_crops import words_without_characters
from mmtextplug.craft.word_labeller import WordLabel, WordLabeller

SAVED_AS = "pseudo_char_label_teacher"
"""Where the teacher lies in a checkpoint."""

# In so many batches most of the words must show their characters to the teacher, and a tenth of
# those with characters has to hold some that were given; else the user hears of it.
_WATCHED_BATCHES = 50
# Means in the log are over so many steps at most.
_LONGEST_MEAN = 1000


@HOOKS.register_module()
class PseudoCharLabelHook(Hook):
    """Fills in the characters of words that have an outline and a text only (CRAFT paper, 3.2.2).

    Before each training step the words of the batch whose characters are unknown are rectified from
    the augmented images, a teacher predicts their region scores in batches, a watershed finds the
    characters, and ``gt_instances.chars``, ``char_confidence`` and ``char_places`` (of the text
    that is in view, False for a space) are filled in. A batch in which all characters are known
    costs nothing. The teacher is saved with each checkpoint and resumed; in distributed training
    each process labels its own batch, with the same teacher.

    In the log there are, each the mean over the steps since the log's last line (so over the
    ``interval`` of the ``LoggerHook``): ``pseudo_words``, words labelled in a step, 0 where there
    are none; ``pseudo_left_out``, words of a step that cannot be (without area, without a visible
    character, or not in view in one piece); ``pseudo_confidence``, a word's;
    ``pseudo_equal_split``, the share of words cut into equal parts; ``pseudo_length_error``, a
    word's |found - length| / length. Those of words are absent where there was no such word. In
    distributed training they are those of the first process.

    Args:
        teacher (str): ``'ema'``: the moving average of the network in training; ``'copy'``: a copy,
            renewed every ``interval`` steps; ``'frozen'``: never changes.
        checkpoint (str, optional): What the teacher starts from. Default: from the network's own
            weights at the beginning, so from ``load_from``.
        momentum (float): Share of the network that each update of ``'ema'`` takes over.
        interval (int): Training steps between updates.
        start (int): The teacher stays as it is for so many steps.
        labeller (dict): Settings of `mmtextplug.craft.word_labeller.WordLabeller`.
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
        self._saved: dict[str, Tensor] | None = None
        self._unseen: deque[tuple[int, int]] = deque(maxlen=_WATCHED_BATCHES)
        self._given: deque[bool] = deque(maxlen=_WATCHED_BATCHES)
        self._warned: set[str] = set()
        self._figures: deque[dict[str, tuple[float, int]]] = deque(maxlen=1)

    def before_run(self, runner: Runner) -> None:
        """See over how many steps the log needs means."""
        # It shows the last value of what is no loss, and nothing of the steps in between.
        intervals = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        self._figures = deque(maxlen=min(max([1, *intervals]), _LONGEST_MEAN))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the teacher of a checkpoint that is resumed from; ``load_from`` brings none."""
        if getattr(runner, "_resume", False):
            self._saved = checkpoint.get(SAVED_AS)

    def before_train(self, runner: Runner) -> None:
        """Make the teacher: the one resumed, that of ``checkpoint``, or the network as it is.

        Raises:
            FileNotFoundError: If there is no such checkpoint.
            ValueError: If it does not fit, or the model is no CRAFT.
        """
        student = _plain(runner.model)
        if not hasattr(student, "det_head"):
            raise ValueError(
                f"PseudoCharLabelHook: the model is a {type(student).__name__}, not a CRAFT: its "
                "region score is needed to find characters"
            )
        self.teacher = Teacher(student, **self.settings)
        if isinstance(self._saved, dict):
            fill(self.teacher.module, self._saved, "the teacher in the checkpoint")
            self._saved = None
        elif self.checkpoint is not None:
            if not Path(self.checkpoint).is_file():
                raise FileNotFoundError(
                    f"{self.checkpoint}: no such file (checkpoint of PseudoCharLabelHook)"
                )
            load_detector_weights(self.teacher.module, self.checkpoint)
        else:
            # BatchNorm statistics of the processes may differ already.
            self.teacher.become(student)
            if runner.iter:
                _warn(
                    "no teacher in the checkpoint that was resumed from: it starts as a copy of "
                    "the network"
                )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the teacher beside the network."""
        if self.teacher is not None:
            checkpoint[SAVED_AS] = {
                key: value.to("cpu", copy=True)
                for key, value in self.teacher.module.state_dict().items()
            }

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Label the words of a batch, in place.

        Raises:
            ValueError: If the labels of the batch have been drawn already.
        """
        samples = data_batch["data_samples"]
        crops, left_out = words_without_characters(samples, vertical=self.labeller.vertical)
        if crops and all("gt_score_maps" in sample for sample in samples):
            raise ValueError(
                "PseudoCharLabelHook: GaussianCharLabels has drawn the labels already, before "
                "there were characters. Leave it out of the pipeline: the loss draws them."
            )
        self._watch_supervision(samples, weak=bool(crops))
        labels = []
        if crops:
            wanted = sorted({crop.image for crop in crops})
            place = {image: index for index, image in enumerate(wanted)}
            images = self._prepared([data_batch["inputs"][image] for image in wanted], runner)
            moved = [replace(crop, image=place[crop.image]) for crop in crops]
            labels = self.labeller.label(self.teacher, images, moved, _amp_type(runner))
            for crop, label in zip(crops, labels):
                confidence = self.labeller.confidence(label)
                write_label(samples[crop.image].gt_instances, label, confidence)
            self._watch_sight(labels)
        self._log(runner, labels, left_out)

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

    def _log(self, runner: Runner, labels: Sequence[WordLabel], left_out: int) -> None:
        known = [label for label in labels if label.crop.places is not None]
        errors = [
            abs(label.split.found - length) / length
            for label, length in ((label, sum(label.crop.places)) for label in known)
        ]
        # Each a sum, and of how many.
        self._figures.append(
            {
                "words": (len(labels), 1),
                "left_out": (left_out, 1),
                "confidence": (sum(map(self.labeller.confidence, labels)), len(labels)),
                "equal_split": (sum(label.split.equal for label in known), len(known)),
                "length_error": (sum(errors), len(known)),
            }
        )
        # Not by `update_scalar`: a checkpoint would then name also what has been taken out again,
        # and MMEngine would complain of it when it is resumed from.
        scalars = runner.message_hub.log_scalars
        for name in self._figures[-1]:
            key = f"train/pseudo_{name}"
            totals, counts = zip(*(figures[name] for figures in self._figures))
            if any(counts):
                mean = float(sum(totals) / sum(counts))
                scalars.setdefault(key, HistoryBuffer()).update(mean)
            else:  # what stays is logged as if it were new
                scalars.pop(key, None)

    def _watch_sight(self, labels: Sequence[WordLabel]) -> None:
        unseen = sum(label.split.equal or not label.split.found for label in labels)
        self._unseen.append((unseen, len(labels)))
        unseen, words = map(sum, zip(*self._unseen))
        full = len(self._unseen) == self._unseen.maxlen
        if full and 2 * unseen > words and "sight" not in self._warned:
            self._warned.add("sight")
            _warn(
                f"in {unseen} of {words} words the teacher sees another number of characters than "
                "their texts have, by far: they are cut into equal parts. If its scores stay below "
                f"foreground={self.labeller.thresholds['foreground']}, lower that; else train on "
                "character boxes first, or start from a trained checkpoint"
            )

    def _watch_supervision(self, samples: Sequence[BaseDataElement], weak: bool) -> None:
        given = any(
            chars is not None and len(chars)
            for sample in samples
            for chars in sample.gt_instances.get("chars", ())
        )
        if self.settings["kind"] == "frozen" or not (given or weak):
            return  # a frozen teacher does not learn from itself
        self._given.append(given)
        full = len(self._given) == self._given.maxlen
        rare = 10 * sum(self._given) < len(self._given)
        if full and rare and "supervision" not in self._warned:
            self._warned.add("supervision")
            _warn(
                f"only {sum(self._given)} of the last {len(self._given)} batches held characters "
                "whose boxes were given: a network that learns from its own labels alone drifts. "
                "Mix in character-annotated data (ratio of SeededInfiniteSampler), or set "
                "teacher='frozen'"
            )


def write_label(instances: InstanceData, label: WordLabel, confidence: float) -> None:
    """Give a word the characters that were found in it, in place.

    Args:
        instances (InstanceData): Words of the label's image as ``PackCharInputs`` makes them; get
            ``char_places`` beside ``chars`` and ``char_confidence``.
        label (WordLabel): Of the word ``label.crop.word``.
        confidence (float): In [0, 1]; see `WordLabeller.confidence`.
    """
    if "char_places" not in instances:
        instances.char_places = [None] * len(instances)
    word = label.crop.word
    instances.chars[word] = label.chars
    instances.char_confidence[word] = confidence
    instances.char_places[word] = label.crop.places


def _warn(text: str) -> None:
    print_log(f"PseudoCharLabelHook: {text}", logger="current", level=logging.WARNING)


def _plain(model: nn.Module) -> nn.Module:
    return model.module if is_model_wrapper(model) else model


def _amp_type(runner: Runner) -> torch.dtype | None:
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, (AmpOptimWrapper, CPUAmpOptimWrapper)):
        return None
    return wrapper.cast_dtype or torch.float16
