#!/usr/bin/env python
"""Measure an index of SynthText's size: time to open it, memory, samples a second.

    python tools/analysis/benchmark_synthtext_index.py

It fills an index with generated numbers (858,750 images, about 7.3 million words and 29 million
characters; 1.3 GB in a temporary folder, or in --out, where it stays), asks the system to forget
its files, and opens it in a fresh process as `SynthTextDataset`. The memory of that process is
given as the system counts it, resident, in two parts: its own, and pages of files, which are the
system's cache and shared by all processes that map them. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.synthtext_index import Chunk, check_target, write_index

WORDS_PER_IMAGE, CHARS_PER_WORD = 8.5, 4.0
IMAGES_PER_CHUNK = 8192
MANY = 20  # times --samples, for what comes after


def make_chunks(images: int, seed: int) -> Iterator[Chunk]:
    """Images of words with random texts and boxes."""
    rng = np.random.default_rng(seed)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" * 4
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    for start in tqdm(range(0, images, IMAGES_PER_CHUNK), desc="writing"):
        count = min(IMAGES_PER_CHUNK, images - start)
        word_counts = 1 + rng.poisson(WORDS_PER_IMAGE - 1, count)
        char_counts = 1 + rng.poisson(CHARS_PER_WORD - 1, word_counts.sum())
        begins = rng.integers(0, 62, len(char_counts)).tolist()
        words, chars = (
            square * rng.uniform(5, 50, (n, 1, 2)) + rng.uniform(0, 400, (n, 1, 2))
            for n in (len(char_counts), char_counts.sum())
        )
        yield Chunk(
            names=[f"{i % 200 + 1}/photo_{i}_{i % 100}.jpg" for i in range(start, start + count)],
            sizes=np.tile([450, 600], (count, 1)),
            word_counts=word_counts,
            texts=[letters[a : a + n] for a, n in zip(begins, char_counts.tolist())],
            words=words,
            char_counts=char_counts,
            chars=chars,
        )


def memory() -> dict[str, float]:
    """Resident megabytes of this process: its own, and pages of files."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) / 1024
    return {"own": fields["Anonymous"], "files": fields["Rss"] - fields["Anonymous"]}


def forget(folder: Path) -> None:
    """Ask the system to drop a folder's files from its cache."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(folder: Path, samples: int, seed: int) -> dict:
    """Open and read, in this process; what `main` prints."""
    from mmtextplug.datasets.synthtext import SynthTextDataset

    result = {"imported": memory()}
    start = time.perf_counter()
    data = SynthTextDataset(str(folder), data_prefix=dict(img_path="images"))
    result["open_s"] = time.perf_counter() - start
    result["opened"] = memory()
    rng = np.random.default_rng(seed)
    for key, count in (("few", samples), ("many", MANY * samples), ("warm", samples)):
        chosen = rng.integers(len(data), size=count).tolist()
        start = time.perf_counter()
        for index in chosen:
            data.get_data_info(index)
        result[f"{key}_rate"] = count / (time.perf_counter() - start)
        result[key] = memory()
        if key == "many":
            rng = np.random.default_rng(seed)  # the first ones again
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=858_750, metavar="N")
    parser.add_argument("--samples", type=int, default=1000, metavar="N", help="read at random")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the index is to stay")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if min(args.images, args.samples) < 1:
        parser.error("--images and --samples must be 1 or more")
    if args.measure:
        print(json.dumps(measure(args.out, args.samples, args.seed)))
        return
    if not Path("/proc/self/smaps_rollup").is_file():
        raise OSError("/proc/self/smaps_rollup is not there: this needs Linux 4.14 or newer")
    with tempfile.TemporaryDirectory(prefix="synthtext_index_") as temporary:
        folder = args.out or Path(temporary) / "index"
        manifest = check_target(folder)
        if manifest is None:
            start = time.perf_counter()
            manifest = write_index(folder, make_chunks(args.images, args.seed))
            print(f"written in {time.perf_counter() - start:.0f} s")
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(
            ", ".join(f"{count:,} {name}" for name, count in manifest["counts"].items())
            + f"; {size / 2**20:,.0f} MB on disk"
        )
        forget(folder)
        command = [sys.executable, __file__, "--measure", "--out", str(folder)]
        command += ["--samples", str(args.samples), "--seed", str(args.seed)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout.splitlines()[-1])
    report(result, args.samples)


def report(result: dict, samples: int) -> None:
    """Print the figures."""
    print(f"opened in {1000 * result['open_s']:.1f} ms")
    for key, what in (
        ("few", f"first {samples:,}, from the disk"),
        ("many", f"another {MANY * samples:,}"),
        ("warm", f"the first {samples:,} again"),
    ):
        print(f"samples a second, {what}: {result[key + '_rate']:,.0f}")
    print(f"{'resident memory, MB':<32}{'own':>8}{'files':>8}")
    for key, what in (
        ("imported", "after all imports"),
        ("opened", "index opened"),
        ("few", f"{samples:,} random samples read"),
        ("many", f"{(MANY + 1) * samples:,} read"),
    ):
        print(f"{what:<32}{result[key]['own']:>8.1f}{result[key]['files']:>8.1f}")


if __name__ == "__main__":
    launch.run(main)
