"""Write generated text with character boxes to a folder, in MMOCR's JSON plus ``chars``.

Example:
    python tools/datasets/generate_text.py --out data/generated --num-train 2000 --num-val 200

The folder then holds ``train/``, ``val/`` (JPEG), ``train.json``, ``val.json`` and
``generated.json``, a note of the arguments by which a second run knows what is done.
"""

from __future__ import annotations

import argparse
import errno
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
from rich.progress import Progress

from mmtextplug.datasets.text_renderer import TextRenderer, sample_rng
from mmtextplug.files import write_atomically

METAINFO = {
    "dataset_type": "TextDetDataset",
    "task_name": "textdet",
    "category": [{"id": 0, "name": "text"}],
}
MANIFEST = "generated.json"
# Pictures of the two splits come from seeds this far apart.
VAL_SEED_OFFSET = 1_000_003

_worker: dict = {}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    parser.add_argument("--num-train", type=int, default=2000, metavar="N")
    parser.add_argument("--num-val", type=int, default=200, metavar="N")
    parser.add_argument(
        "--size", type=int, nargs="+", default=[256], metavar="PX", help="one side, or HEIGHT WIDTH"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="0: in this process")
    parser.add_argument("--fonts", nargs="+", default=[], metavar="DIR", help="folders of fonts")
    parser.add_argument("--backgrounds", metavar="DIR", help="folder of photos without text")
    parser.add_argument("--words", metavar="FILE", help="UTF-8 list of words")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what other arguments wrote into DIR"
    )
    args = parser.parse_args(argv)
    if min(args.num_train, args.num_val) < 0 or args.num_train + args.num_val == 0:
        parser.error("--num-train and --num-val must be 0 or more, and one of them positive")
    if len(args.size) > 2:
        parser.error("--size takes one or two numbers")
    if not 0 <= args.seed < 2**32 - VAL_SEED_OFFSET:
        parser.error(f"--seed must be 0 to {2**32 - VAL_SEED_OFFSET - 1}")
    if args.workers < 0:
        parser.error("--workers must be 0 or more")
    return args


def write_json(path: Path, content: dict) -> None:
    write_atomically(path, json.dumps(content, ensure_ascii=False).encode())


def _start_worker(options: dict, out: Path) -> None:
    cv2.setNumThreads(1)
    _worker.update(renderer=TextRenderer(**options), out=out)


def _write_sample(task: tuple[str, int, int]) -> dict:
    """Draw one picture, write it, return its entry of ``data_list``."""
    split, seed, index = task
    sample = _worker["renderer"].render(sample_rng(seed, index))
    name = f"{split}/{index:06d}.jpg"
    jpeg = cv2.imencode(".jpg", sample.image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
    write_atomically(_worker["out"] / name, jpeg.tobytes())
    height, width = sample.image.shape[:2]
    instances = sample.instances(digits=3)
    return {"img_path": name, "height": height, "width": width, "instances": instances}


def read_manifest(out: Path, arguments: dict, overwrite: bool) -> list[str]:
    """Names of the splits that an earlier run with the same arguments finished.

    Raises:
        FileExistsError: the folder holds what other arguments, or other hands, wrote.
    """
    manifest = out / MANIFEST
    if not manifest.exists():
        strangers = [name for name in ("train.json", "val.json") if (out / name).exists()]
        if strangers and not overwrite:
            raise FileExistsError(
                f"{out / strangers[0]} was not written by this tool; "
                "choose another --out, or replace it with --overwrite"
            )
        return []
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        same, done = content["arguments"] == arguments, list(content["done"])
    except (ValueError, KeyError, TypeError):
        same, done = False, []
    if same:
        return [split for split in done if (out / f"{split}.json").is_file()]
    if not overwrite:
        raise FileExistsError(
            f"{manifest}: this folder was generated with other arguments; "
            "choose another --out, or replace it with --overwrite"
        )
    return []


def clear(out: Path) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    for name in ("train.json", "val.json", MANIFEST):
        (out / name).unlink(missing_ok=True)
    for split in ("train", "val"):
        for image in (out / split).glob("[0-9]*.jpg"):
            image.unlink()


def generate(args: argparse.Namespace) -> None:
    """Write what is not there yet."""
    out: Path = args.out
    options = {
        "size": args.size[0] if len(args.size) == 1 else tuple(args.size),
        "font_dirs": [str(Path(d).resolve()) for d in args.fonts],
        "background_dir": args.backgrounds and str(Path(args.backgrounds).resolve()),
        "word_list": args.words and str(Path(args.words).resolve()),
    }
    TextRenderer(**options)  # Wrong arguments show here, before anything is written or removed.
    counts = {"train": args.num_train, "val": args.num_val}
    arguments = json.loads(json.dumps({**options, "seed": args.seed, "counts": counts}))
    done = read_manifest(out, arguments, args.overwrite)
    todo = [split for split, count in counts.items() if count and split not in done]
    if not todo:
        print(f"{out}: nothing to do, {sum(counts.values())} pictures are there")
        return

    out.mkdir(parents=True, exist_ok=True)
    if not done:
        clear(out)
    write_json(out / MANIFEST, {"arguments": arguments, "done": done})
    # No thread of its own for the bar: the workers are forked while it is up.
    with Progress(auto_refresh=False) as progress:
        for split in todo:
            (out / split).mkdir(exist_ok=True)
            seed = args.seed + (VAL_SEED_OFFSET if split == "val" else 0)
            tasks = [(split, seed, index) for index in range(counts[split])]
            entries = []
            bar = progress.add_task(f"{split} pictures", total=len(tasks))
            for entry in _run(tasks, options, out, args.workers):
                entries.append(entry)
                progress.update(bar, advance=1, refresh=len(entries) % 10 == 0)
            progress.refresh()
            write_json(out / f"{split}.json", {"metainfo": METAINFO, "data_list": entries})
            done = [*done, split]
            write_json(out / MANIFEST, {"arguments": arguments, "done": done})
    print(f"{out}: wrote {' and '.join(f'{counts[split]} {split}' for split in todo)} pictures")


def _run(
    tasks: list[tuple[str, int, int]], options: dict, out: Path, workers: int
) -> Iterator[dict]:
    """Entries in the order of the tasks."""
    if workers == 0:
        _start_worker(options, out)
        yield from map(_write_sample, tasks)
        return
    pool = ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(options, out))
    try:
        yield from pool.map(_write_sample, tasks, chunksize=8)
    finally:
        pool.shutdown(cancel_futures=True)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        generate(args)
    except (ValueError, FileExistsError, FileNotFoundError, NotADirectoryError) as error:
        print(f"generate_text: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "check --out"
        print(f"generate_text: {error}: {remedy} and run this again", file=sys.stderr)
        return 1
    except BrokenProcessPool:
        print(
            "generate_text: a worker was killed, perhaps for memory; try fewer --workers",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
