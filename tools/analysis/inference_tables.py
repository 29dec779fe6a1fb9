"""What benchmark_inference.py prints of its subjects: figures, and how their words differ."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from inference_peers import PEERS
from inference_subjects import FROM_ONNX, LADDER, Job
from rich.console import Console
from rich.table import Table
from word_differences import compare_words

KINDS = ("moved", "missing", "extra")
TITLES = LADDER | {name: title for peers in PEERS.values() for name, title in peers.items()}


@dataclass(frozen=True)
class Figures:
    """What a subject took.

    Attributes:
        mean, spread: Seconds a photo: over all, and their standard deviation over batches, NaN if
            there is one only.
        finding: Share of the time that went into finding words in score maps.
        words: How many were found on all photos.
    """

    mean: float
    spread: float
    finding: float
    words: int


def summarize(result: dict) -> Figures:
    """Figures of what `inference_process.run` returned."""
    laps = result["laps"]
    seconds = sum(spent for _, spent in laps)
    single = [spent / count for count, spent in laps]
    return Figures(
        mean=seconds / sum(count for count, _ in laps),
        spread=statistics.stdev(single) if len(single) > 1 else math.nan,
        finding=result["finding"] / seconds,
        words=sum(map(len, result["words"])),
    )


@dataclass(frozen=True, eq=False)
class Done:
    """A job, and what `inference_process.run` returned for it."""

    job: Job
    result: dict

    @functools.cached_property
    def figures(self) -> Figures:
        return summarize(self.result)


def trained(job: Job) -> bool:
    """Whether its words mean something: not those of random weights."""
    return bool(job.checkpoint) or job.subject in (*FROM_ONNX, "rapidocr")


def pairs_to_compare(done: Sequence[Done]) -> list[tuple[Done, Done]]:
    """Runs, and those whose words theirs are compared with: same model, weights and size."""
    pairs = []
    for one in done:
        alike = [
            other
            for other in done
            if other.job.model == one.job.model
            and other.job.long_side == one.job.long_side
            and other.job.checkpoint == one.job.checkpoint
            and trained(one.job)
            and trained(other.job)
        ]
        firsts: dict[str, Done] = {}  # at the first batch size
        for other in alike:
            firsts.setdefault(other.job.subject, other)
        whole = "threads" if one.job.subject == "tiled" else one.job.subject
        chosen = [firsts[name] for name in ("plain", whole) if name in firsts]
        pairs += [(one, other) for other in dict.fromkeys(chosen) if other is not one]
    return pairs


def show_figures(console: Console, done: Sequence[Done]) -> None:
    """Print a table for each model and size."""
    on_gpu = any(one.result["reserved"] is not None for one in done)
    columns = ["subject", "computes in", "batch", "loaded MiB", "peak MiB"]
    columns += ["reserved MiB"] * on_gpu
    columns += ["s a photo", "photos/s", "finding words", "words", "speed", "memory"]
    for model, side in dict.fromkeys((one.job.model, one.job.long_side) for one in done):
        rows = [one for one in done if (one.job.model, one.job.long_side) == (model, side)]
        job = rows[0].job
        peer = next((r for r in rows if r.job.subject in PEERS[model]), None)
        title = f"{model}, {len(job.photos)} photos, long side {side}, {job.device}"
        title += f", {job.threads} threads"
        if not all(trained(row.job) for row in rows):
            title += "; random weights: timing only"
        table = Table(title=title)
        for column in columns:
            table.add_column(column, justify="left" if column == "subject" else "right")
        for row in rows:
            figures, result = row.figures, row.result
            cells = [TITLES[row.job.subject], result["precision"], str(row.job.batch_size)]
            cells += [f"{result[key]:,.0f}" for key in ("loaded", "peak", "reserved")[: 2 + on_gpu]]
            spread = "" if math.isnan(figures.spread) else f" ± {figures.spread:.3f}"
            cells += [f"{figures.mean:.3f}{spread}", f"{1 / figures.mean:.2f}"]
            known = trained(row.job)
            cells += [f"{figures.finding:.2%}" if known else "-"]
            cells += [f"{figures.words:,}" if known else "-"]
            if peer is None:
                cells += ["-", "-"]
            else:
                cells.append(f"{peer.figures.mean / figures.mean:.2f}x")
                cells.append(f"{result['peak'] / peer.result['peak']:.0%}")
            table.add_row(*cells)
        console.print(table)


def differences(done: Sequence[Done]) -> list[dict]:
    """How the words of runs differ from those they are compared with, for JSON.

    Returns:
        list[dict]: Of each pair ``subject``, ``against`` and ``photos``, one `WordDifferences` as a
        dict for each photo: of equal words how many, and how far ``apart`` they are at most; the
        others instead of their indices, without a distance (None) if they have not as many corners.
    """
    pairs = []
    for one, other in pairs_to_compare(done):
        photos = []
        for theirs, words in zip(other.result["words"], one.result["words"]):
            found = compare_words(theirs, words)
            photos.append(
                {
                    "equal": len(found.equal),
                    "apart": max((gap for *_, gap in found.equal), default=0.0),
                    "moved": [
                        [theirs[i], words[j], gap if math.isfinite(gap) else None]
                        for i, j, gap in found.moved
                    ],
                    "missing": [theirs[i] for i in found.missing],
                    "extra": [words[j] for j in found.extra],
                }
            )
        keys = ("model", "subject", "batch_size", "long_side")
        one_name, other_name = (
            {key: getattr(run.job, key) for key in keys} for run in (one, other)
        )
        pairs.append({"subject": one_name, "against": other_name, "photos": photos})
    return pairs


def show_differences(
    console: Console, pairs: Sequence[dict], photos: Sequence[str] | None = None
) -> None:
    """Print how many words differ; of ``photos``, if given, also which.

    Args:
        console (Console): Where to.
        pairs (Sequence[dict]): From `differences`.
        photos (Sequence[str], optional): Their names.
    """
    if not pairs:
        return
    table = Table(title="words beside those of another run")
    columns = ["model", "long side", "subject", "batch", "against", "batch"]
    for column in [*columns, "equal", "moved", "missing", "extra", "apart px"]:
        table.add_column(column, justify="left" if column in ("subject", "against") else "right")
    for pair in pairs:
        one, other, found = pair["subject"], pair["against"], pair["photos"]
        gaps = [photo["apart"] for photo in found]
        gaps += [gap for photo in found for *_, gap in photo["moved"] if gap is not None]
        table.add_row(
            one["model"],
            str(one["long_side"]),
            TITLES[one["subject"]],
            str(one["batch_size"]),
            TITLES[other["subject"]],
            str(other["batch_size"]),
            f"{sum(photo['equal'] for photo in found):,}",
            *(f"{sum(len(photo[kind]) for photo in found):,}" for kind in KINDS),
            f"{max(gaps):.2f}",
        )
    console.print(table)
    for pair in pairs if photos else ():
        one, other = (
            f"{pair[side]['subject']} (batch {pair[side]['batch_size']})"
            for side in ("subject", "against")
        )
        for name, found in zip(photos, pair["photos"]):
            for line in _lines(found):
                print(f"{name}: {one} against {other}: {line}")


def _lines(found: dict) -> list[str]:
    """A line for each word that is not equal."""
    moved = [
        f"{'other corners' if gap is None else f'moved by up to {gap:.1f} px'}: {_at(word)}"
        for _, word, gap in found["moved"]
    ]
    others = [f"{kind}: {_at(word)}" for kind in ("missing", "extra") for word in found[kind]]
    return moved + others


def _at(word: Sequence[Sequence[float]]) -> str:
    return " ".join(f"({x:.0f}, {y:.0f})" for x, y in word)
