#!/usr/bin/env python
"""Speed and memory of detectors on your photos, ours and others', and whether they find the same.

    python tools/analysis/benchmark_inference.py photos/ --photos 40 --out inference.json
    python tools/analysis/benchmark_inference.py photos/ --models craft --subjects plain threads \\
        easyocr --precision float32 --batch-sizes 1 --list-differences

CRAFT with the official weights beside EasyOCR's detector with the same ones, and DBNet beside the
one that comes with RapidOCR; a peer that is not installed is left out. Ours is measured with its
options switched on in turn. DBNet's weights are random unless --models dbnet --checkpoint names
some: its times count, its words do not.

Each subject has a process of its own, which may use --threads processors, the same decoded photos,
and a first batch that does not count. Printed are

- memory after loading and at its peak, the photos' own left out (on a GPU that of PyTorch's
  tensors, and what it reserved for them; ONNX Runtime's is not seen);
- mean and standard deviation of seconds a photo, the latter over batches;
- the share of the time in which words are found in score maps: with threads, beside the network;
- speed and peak memory as multiples of the first peer's;
- how the words differ from those of 'plain', and in tiles and larger batches also from those of the
  same network without: equal words have all corners within 2 px, moved ones overlap by an IoU of
  0.5 or more, the others are missing or extra; and how far corners of both are apart at most.

The exit status is 1 if a subject failed; what is finished is shown and written even then.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from inference_peers import PEERS, bundled_rapidocr
from inference_process import measure
from inference_subjects import FROM_ONNX, LADDER, Job
from inference_tables import TITLES, Done, differences, show_differences, show_figures
from rich.console import Console
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.craft.weights import official_weights
from mmtextplug.files import write_atomically
from mmtextplug.inference.network import PRECISIONS
from mmtextplug.photos import find_photos, read_photo

ROOT = Path(__file__).resolve().parents[2]
DBNET = ROOT / "configs" / "dbnet" / "dbnet_resnet18_fpnc_1200e_icdar2015.py"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("paths", nargs="+", type=Path, metavar="PHOTO_OR_FOLDER")
    parser.add_argument("--photos", type=int, metavar="N", help="the first N photos; default: all")
    parser.add_argument("--models", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME")
    parser.add_argument(
        "--subjects", nargs="+", choices=TITLES, metavar="NAME",
        help=f"of {', '.join(TITLES)}; default: all but compile, which takes minutes",
    )  # fmt: skip
    parser.add_argument("--config", help="config of the first of --models, instead of its own")
    parser.add_argument("--checkpoint", help="weights of the first of --models")
    parser.add_argument("--onnx", metavar="FILE", help="the first of --models, exported")
    parser.add_argument("--long-side", type=int, nargs="+", default=[1280], metavar="PX")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 8], metavar="N")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="of the step that lowers it"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ...")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--list-differences", action="store_true", help="words that are not equal")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON of all figures and words")
    args = parser.parse_args(argv)
    numbers = [*args.long_side, *args.batch_sizes, args.threads, args.photos or 1]
    if min(numbers) < 1 or args.photos == 0:
        parser.error("numbers must be 1 or more")
    if args.subjects is None:
        args.subjects = [s for s in TITLES if s != "compile" and (s not in FROM_ONNX or args.onnx)]
    wanting = [name for name in args.subjects if name in FROM_ONNX and not args.onnx]
    if wanting:
        parser.error(f"--subjects {wanting[0]}: needs --onnx FILE")
    return args


def model_files(args: argparse.Namespace, model: str) -> dict[str, str | None]:
    """Config, checkpoint and ONNX file of a model: options name those of the first.

    Raises:
        FileNotFoundError, ValueError: If the official weights are needed, and missing or damaged.
    """
    files = dict.fromkeys(("config", "checkpoint", "onnx"))
    if model == args.models[0]:
        files = {name: getattr(args, name) for name in files}
    if files["config"] is None and model == "dbnet":
        files["config"] = str(DBNET)
    if files["config"] is None and files["checkpoint"] is None:
        files["checkpoint"] = str(official_weights())
    return files


def peer_files(model: str, device: str) -> dict[str, str | None]:
    """The same of a model's peers.

    Raises:
        FileNotFoundError, ValueError: If the peer or its weights are not installed, or damaged, or
            it does not run on the device.
    """
    package = "easyocr" if model == "craft" else "rapidocr"
    if model == "dbnet" and device != "cpu":
        raise ValueError(f"{package} is measured on the CPU only")
    spec = importlib.util.find_spec(package)  # finds without importing
    if spec is None:
        raise FileNotFoundError(f"{package} is not installed: pip install 'mmtextplug[benchmark]'")
    if model == "craft":
        return {"config": None, "checkpoint": str(official_weights()), "onnx": None}
    detector = bundled_rapidocr(Path(spec.origin).parent)
    if detector is None:
        raise FileNotFoundError(f"{package} comes without a detector, and nothing is downloaded")
    return {"config": None, "checkpoint": None, "onnx": str(detector)}


def plan(args: argparse.Namespace, photos: list[str]) -> tuple[list[Job], list[str]]:
    """What to run, in order, and a line on each peer that is left out."""
    jobs, missing = [], []
    for model in dict.fromkeys(args.models):
        own = model_files(args, model)
        names = [name for name in (*LADDER, *PEERS[model]) if name in args.subjects]
        try:
            theirs = peer_files(model, args.device) if set(names) & set(PEERS[model]) else {}
        except (FileNotFoundError, ValueError) as error:
            missing.append(f"left out: {error}")
            names = [name for name in names if name in LADDER]
        if own["onnx"] is None:
            names = [name for name in names if name not in FROM_ONNX]
        for side in dict.fromkeys(args.long_side):
            for name in names:
                # RapidOCR takes photos one by one.
                batches = [1] if name == "rapidocr" else dict.fromkeys(args.batch_sizes)
                jobs += [
                    Job(
                        model=model,
                        subject=name,
                        batch_size=batch,
                        long_side=side,
                        device=args.device,
                        threads=args.threads,
                        precision=args.precision,
                        photos=photos,
                        **(own if name in LADDER else theirs),
                    )
                    for batch in batches
                ]
    return jobs, missing


def check_device(name: str) -> None:
    """Raise a ValueError unless PyTorch can compute on a device."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:160]
        raise ValueError(f"--device {name}: not usable here: {reason}") from error


def decode(paths: Sequence[Path], folder: Path) -> list[str]:
    """Decode photos into ``.npy`` files in a folder."""
    files = [folder / f"{number}.npy" for number in range(len(paths))]
    for path, file in zip(paths, files):
        np.save(file, read_photo(path)[0])
    return [str(file) for file in files]


def as_json(done: Sequence[Done], paths: Sequence[Path], pairs: list[dict]) -> bytes:
    """All that was measured."""
    runs = []
    for one in done:
        job = {key: value for key, value in vars(one.job).items() if key != "photos"}
        figures = vars(one.figures)
        figures = {key: None if math.isnan(value) else value for key, value in figures.items()}
        runs.append({**job, **figures, **one.result})
    content = {"photos": list(map(str, paths)), "runs": runs, "differences": pairs}
    return json.dumps(content, allow_nan=False).encode()


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    check_device(args.device)
    paths = [path for path, _ in find_photos(args.paths, Path("unused"))][: args.photos]
    done: list[Done] = []
    failed = stopped = False
    with tempfile.TemporaryDirectory(prefix="benchmark_inference_") as folder:
        jobs, missing = plan(args, decode(paths, Path(folder)))
        for line in missing:
            print(line, file=sys.stderr)
        if not jobs:
            raise ValueError("--subjects: none of them is there to be measured")
        try:
            for job in tqdm(jobs, "subjects", file=sys.stderr):
                result = measure(job)
                if "error" in result:
                    failed = True
                    tqdm.write(f"failed: {named(job)}: {result['error']}", file=sys.stderr)
                    continue
                done.append(Done(job, result))
                if args.out:  # what is done stays, whatever comes
                    write_atomically(args.out, as_json(done, paths, []))
        except KeyboardInterrupt:
            stopped = True
    console = Console(width=150)
    show_figures(console, done)
    pairs = differences(done)
    show_differences(console, pairs, list(map(str, paths)) if args.list_differences else None)
    if args.out and done:
        write_atomically(args.out, as_json(done, paths, pairs))
    return 130 if stopped else int(failed)


def named(job: Job) -> str:
    """A job in a word or two."""
    return f"{job.model} {job.subject}, batch {job.batch_size}, long side {job.long_side}"


if __name__ == "__main__":
    launch.run(main)
