"""The schedule of S-OHEM: the history of losses, when it is stable, the weights that follow."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field

from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from mmtextplug.mining.ohem_sampler import RoIOHEMSampler
from mmtextplug.mining.s_ohem import Ratios, Schedule, Stability, ratio
from mmtextplug.mining.s_ohem_sampler import HISTORY, StratifiedOHEMSampler

SAVED_AS = "stratified_ohem"
"""Where the history and the schedule lie in a checkpoint."""

# The paper averages over 1,000 of its 80,000 steps.
_WINDOWS_A_TRAINING = 80
# What changes the learning rate by more than this factor makes losses fall again.
_LR_CHANGE = 2.0


@dataclass
class MiningState:
    """How far the schedule of one sampler has come; plain numbers, saved as they are.

    Attributes:
        start: Step at which the ramp began; -1: not yet.
        ratios: Frozen when it began.
        sums: Of losses in the window so far, see `HISTORY`; of all processes.
        history, calm: Of `Stability`.
    """

    start: int = -1
    ratios: Ratios = field(default_factory=Ratios)
    sums: list[float] = field(default_factory=list)
    history: list[list[float]] = field(default_factory=list)
    calm: int = 0


@HOOKS.register_module()
class StratifiedOHEMHook(Hook):
    """Moves every ``StratifiedOHEMSampler`` from classification to localisation.

    The losses of all candidates that survive duplicate removal are averaged over windows of steps
    and over all processes. When they are stable, or at the end of the window of ``force_start`` at
    the latest, the ramp begins: see `mmtextplug.mining.s_ohem.Schedule`. What was averaged is
    forgotten when a learning rate changes by more than a factor of two from one window to the next,
    for losses fall again. A step is a forward pass, also where gradients are accumulated. Each
    stage of a cascade has a history and a ramp of its own. They are saved in checkpoints and
    resumed; ``load_from`` brings none.

    Logged are, with the number of the stage in a cascade, for `RoIOHEMSampler` too:
    ``mining/candidates``, ``duplicates``, ``without_area``, ``non_finite``, ``selected`` and
    ``ground_truths``, means a forward; ``foreground``, its share of the selected; and for S-OHEM
    ``alpha``, ``beta`` (``beta_0``, ... for each category), ``gamma``, ``progress``, ``ramp``
    (whether it has begun), ``cls_threshold``, ``loc_threshold``, ``population_s1`` to ``s4`` and
    ``selected_s1`` to ``s4``. Losses that are not finite are warned of.
    In distributed training these are those of the first process.

    Args:
        alpha_end, beta_end, gamma_end, ramp_iters, shape: See `Schedule`. The paper ends with
            ``beta_end=1.9`` (VOC 2007) and ``2.3`` (KITTI).
        window (int, optional): Steps of a window. Default: an eightieth of the training.
        windows, tolerance, patience: See `Stability`.
        force_start (float): The ramp begins at this share of the training at the latest; the
            paper's 40,000 of 80,000 steps.
        interval (int): Steps between log entries.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        alpha_end: float = 1.0,
        beta_end: float | None = None,
        gamma_end: float | None = None,
        ramp_iters: int | None = None,
        shape: str = "linear",
        window: int | None = None,
        windows: int = 10,
        tolerance: float = 0.02,
        patience: int = 3,
        force_start: float = 0.5,
        interval: int = 50,
    ) -> None:
        self.schedule = Schedule(alpha_end, beta_end, gamma_end, ramp_iters, shape)
        self.stability = dict(windows=windows, tolerance=tolerance, patience=patience)
        Stability(**self.stability)  # wrong settings show now
        if (window is not None and window < 1) or interval < 1 or not 0 <= force_start <= 1:
            raise ValueError(
                f"StratifiedOHEMHook: need window={window} and interval={interval} of 1 or more, "
                f"force_start={force_start} in [0, 1]"
            )
        self.window, self.force_start, self.interval = window, force_start, interval
        self.states: list[MiningState] = []
        self._samplers: list[tuple[str, RoIOHEMSampler]] = []
        self._lr: list[float] = []
        self._saved: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the states of a checkpoint that is resumed from."""
        if getattr(runner, "_resume", False):
            self._saved = checkpoint.get(SAVED_AS)

    def before_train(self, runner: Runner) -> None:
        """Find the samplers and take up what was saved.

        Raises:
            ValueError: If no sampler of this package is in the model, no window ends within the
                training, or each category is to have a weight of its own although the hook gives
                one for all.
        """
        if self.window is not None and self.window > runner.max_iters:
            raise ValueError(
                f"StratifiedOHEMHook: no window={self.window} ends within the training of "
                f"{runner.max_iters} steps, localisation would never gain weight: make it smaller"
            )
        self._samplers = find_samplers(runner.model)
        if self.schedule.beta_end is not None and any(
            getattr(sampler, "per_class", False) for _, sampler in self._samplers
        ):
            raise ValueError(
                "StratifiedOHEMHook: beta_end is one weight for all categories, per_class of "
                "StratifiedOHEMSampler one for each: leave out one of them"
            )
        if not self._samplers:
            raise ValueError(
                "StratifiedOHEMHook: no StratifiedOHEMSampler or RoIOHEMSampler is in the model: "
                "set it in model.train_cfg.rcnn.sampler"
            )
        self.states = [MiningState() for _ in self._samplers]
        if isinstance(self._saved, dict):
            saved = self._saved["states"]
            if len(saved) != len(self.states):
                raise ValueError(
                    f"StratifiedOHEMHook: the checkpoint has states of {len(saved)} samplers, the "
                    f"model {len(self.states)}: resume with the config it was saved with"
                )
            self.states = [
                MiningState(**{**state, "ratios": Ratios(**state["ratios"])}) for state in saved
            ]
            self._lr = list(self._saved["lr"])
        elif runner.iter:
            print_log(
                "StratifiedOHEMHook: no history in the checkpoint that was resumed from: it begins "
                "anew",
                logger="current",
                level=logging.WARNING,
            )
        self._saved = None
        for (_, sampler), state in zip(self._samplers, self.states):
            sampler.take_counts()
            if isinstance(sampler, StratifiedOHEMSampler):
                sampler.is_scheduled = True
                sampler.take_history()
                self._set_weights(sampler, state, runner.iter, runner.max_iters)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save the states beside the network.

        Whoever saves: alone, the sums are up to date. Of several processes one saves, and the sums
        of the window so far are those of the last step at which all came together, see `_saves`.
        """
        if get_world_size() == 1:
            self._gather()
        checkpoint[SAVED_AS] = dict(states=[asdict(state) for state in self.states], lr=self._lr)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Move the weights; at the end of a window, look whether losses are stable."""
        step = runner.iter + 1
        window = self.window or max(runner.max_iters // _WINDOWS_A_TRAINING, 1)
        closes = step % window == 0
        # What a checkpoint holds is of all processes.
        if closes or _saves(runner):
            self._gather()
        if closes:
            self._close_window(runner, step)
        for (_, sampler), state in zip(self._samplers, self.states):
            if isinstance(sampler, StratifiedOHEMSampler):
                self._set_weights(sampler, state, step, runner.max_iters)
        if step % self.interval == 0:
            self._log(runner)

    def before_val_epoch(self, runner: Runner) -> None:
        """The best checkpoint is saved after it."""
        self._gather()

    def after_train_epoch(self, runner: Runner) -> None:
        """A checkpoint may be saved after it."""
        self._gather()

    def _gather(self) -> None:
        """Add the sums of all processes to the states; all come here at the same steps."""
        for (_, sampler), state in zip(self._samplers, self.states):
            if isinstance(sampler, StratifiedOHEMSampler):
                sums = sampler.take_history()
                all_reduce(sums, "sum")
                before = state.sums or [0.0] * len(sums)
                state.sums = [a + b for a, b in zip(before, sums.tolist())]

    def _close_window(self, runner: Runner, step: int) -> None:
        rates = [rate for part in runner.optim_wrapper.get_lr().values() for rate in part]
        changed = len(rates) == len(self._lr) and any(
            max(a, b) > _LR_CHANGE * max(min(a, b), 1e-20) for a, b in zip(rates, self._lr)
        )
        self._lr = [float(rate) for rate in rates]
        forced = step >= self.force_start * runner.max_iters
        for name_and_sampler, state in zip(self._samplers, self.states):
            if not isinstance(name_and_sampler[1], StratifiedOHEMSampler) or state.start >= 0:
                state.sums = []
                continue
            stability = Stability(**self.stability)
            stability.history.extend(tuple(row) for row in state.history)
            stability.calm = state.calm
            if changed:
                stability.reset()
            sums = dict(zip(HISTORY, state.sums))
            stable = False
            if sums["survivors"] and sums["foreground"]:  # else nothing was measured
                stable = stability.add(
                    sums["cls"] / sums["survivors"], sums["loc"] / sums["foreground"]
                )
            state.history, state.calm = [list(row) for row in stability.history], stability.calm
            if stable or forced:
                self._start(name_and_sampler[0], state, step, "are stable" if stable else "")
            state.sums = []

    def _start(self, name: str, state: MiningState, step: int, why: str) -> None:
        sums = dict(zip(HISTORY, state.sums))
        by_class = state.sums[len(HISTORY) :]
        classes = len(by_class) // 2
        overall = ratio(sums["cls_selected"], sums["loc_selected"])
        state.start = step
        state.ratios = Ratios(
            loc=overall,
            mask=ratio(sums["cls_selected"], sums["mask_selected"]),
            per_class=[
                ratio(cls, loc, overall) for cls, loc in zip(by_class[:classes], by_class[classes:])
            ],
        )
        print_log(
            f"StratifiedOHEMHook: {name}: losses {why or 'count as stable from here on'}; from "
            f"step {step} on localisation gains weight, measured ratio {overall:.3f}",
            logger="current",
        )

    def _set_weights(
        self, sampler: StratifiedOHEMSampler, state: MiningState, step: int, max_iters: int
    ) -> None:
        sampler.weights = self.schedule.weights(step, state.start, max_iters, state.ratios)

    def _log(self, runner: Runner) -> None:
        for (name, sampler), state in zip(self._samplers, self.states):
            counts = sampler.take_counts()
            calls = counts.pop("calls", 0)
            if not calls:
                continue
            if counts["non_finite"]:
                print_log(
                    f"StratifiedOHEMHook: {name}: of {counts['candidates']:,.0f} RoIs, the losses "
                    f"of {counts['non_finite']:,.0f} are NaN or infinite; none is trained on",
                    logger="current",
                    level=logging.WARNING,
                )
            selected = max(counts["selected"], 1)
            values = {key: value / calls for key, value in counts.items()}
            values["foreground"] = counts["foreground"] / selected
            if isinstance(sampler, StratifiedOHEMSampler):
                weights = asdict(sampler.weights)
                weights["gamma"] *= sampler.mask_weight  # 0 without masks
                if isinstance(sampler.weights.beta, list):
                    betas = weights.pop("beta")
                    weights |= {f"beta_{i}": beta for i, beta in enumerate(betas)}
                values |= weights | {"ramp": float(state.start >= 0)}
            for key, value in values.items():
                runner.message_hub.update_scalar(f"train/{name}/{key}", value)


def find_samplers(model: nn.Module) -> list[tuple[str, RoIOHEMSampler]]:
    """The samplers of this package in a model, each with a name for the log."""
    model = model.module if is_model_wrapper(model) else model
    found = []
    for module in model.modules():
        samplers = getattr(module, "bbox_sampler", None)
        staged = isinstance(samplers, list)
        for number, sampler in enumerate(samplers if staged else [samplers]):
            if isinstance(sampler, RoIOHEMSampler):
                found.append((f"mining_s{number}" if staged else "mining", sampler))
    return found


def _saves(runner: Runner) -> bool:
    """Whether a checkpoint is saved at this step."""
    step = runner.iter + 1
    return any(
        (hook.interval > 0 and step % hook.interval == 0)
        or (hook.save_last and step == runner.max_iters)
        for hook in runner.hooks
        if isinstance(hook, CheckpointHook) and not hook.by_epoch
    )
