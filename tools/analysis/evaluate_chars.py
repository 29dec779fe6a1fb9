#!/usr/bin/env python
"""Compare characters of the words that a CRAFT finds on whole photos with annotated ones.

    python tools/analysis/evaluate_chars.py words.json --images photos --cache maps
    python tools/analysis/evaluate_chars.py words.json --images photos --isolated-threshold 0.5 0.6

The annotation is MMOCR's JSON with ``chars`` in each instance. Characters are paired one to one,
best IoU first; from an IoU of 0.5 on, in pixels of the photo, a pair counts. Printed are precision
and recall over all characters; the same within words that were found (IoU 0.5), where the detector
is not to blame; the share of these words with the right number of characters; and the words of one
character. What is found in words that are ignored, or annotated without characters, does not count.

The network's score maps can be kept on disk: what comes after the network is then tried quickly.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import shapely
import torch
from evaluate_char_split import LEAST_IOU, overlaps
from mmengine.registry import MODELS
from rich.console import Console
from rich.table import Table
from score_map_cache import MapSource, add_network_options, craft_postprocessor, read_photo
from tqdm import tqdm

from mmtextplug import launch
from mmtextplug.datasets.annotations import Word, read_word
from mmtextplug.datasets.char_text import CharTextDataset
from mmtextplug.files import write_atomically
from mmtextplug.visualization.draw import draw_chars, draw_words

REAL_COLOUR, FOUND_COLOUR = (0, 200, 0), (0, 140, 255)
LEAST_PICTURE = 1200
"""Pixels: smaller photos are enlarged before they are drawn on."""


def match(iou: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rows and columns one to one, best first, as long as their IoU suffices."""
    rows, columns = np.nonzero(iou >= LEAST_IOU)
    pairs, seen_rows, seen_columns = [], set(), set()
    for i in np.argsort(-iou[rows, columns], kind="stable"):
        row, column = int(rows[i]), int(columns[i])
        if row not in seen_rows and column not in seen_columns:
            pairs.append((row, column))
            seen_rows.add(row)
            seen_columns.add(column)
    return pairs


def compare(
    words: Sequence[Word], polygons: Sequence[np.ndarray], chars: Sequence[np.ndarray]
) -> Counter:
    """Count what was found on a photo.

    Args:
        words: All that is annotated.
        polygons: The outlines ``(k, 2)`` of the words found.
        chars: Their characters, ``(n, 4, 2)`` each.
    """
    real = [word for word in words if word.chars is not None and len(word.chars)]
    unjudged = [
        shapely.make_valid(shapely.Polygon(word.polygon))
        for word in words
        if word.chars is None or not len(word.chars)
    ]
    pairs = match(overlaps([word.polygon for word in real], polygons))
    taken = {column for _, column in pairs}
    judged = [i in taken or not _within(polygon, unjudged) for i, polygon in enumerate(polygons)]
    found = [quad for quads, counts in zip(chars, judged, strict=True) if counts for quad in quads]
    count = Counter(
        words=len(real),
        words_found=sum(judged),
        words_matched=len(pairs),
        chars=sum(len(word.chars) for word in real),
        chars_found=len(found),
        chars_matched=len(match(overlaps([q for w in real for q in w.chars], found))),
        singles=sum(len(word.chars) == 1 for word in real),
    )
    for row, column in pairs:
        known, own = real[row].chars, chars[column]
        hits = len(match(overlaps(known, own)))
        count.update(
            inner_chars=len(known),
            inner_found=len(own),
            inner_matched=hits,
            counts_right=len(known) == len(own),
            singles_matched=len(known) == 1,
            singles_right=len(known) == len(own) == hits == 1,
        )
    return count


def _within(polygon: np.ndarray, others: Sequence[shapely.Geometry]) -> bool:
    """Whether at least half of an outline lies inside of some other."""
    outline = shapely.make_valid(shapely.Polygon(polygon))
    return any(outline.intersection(other).area >= outline.area / 2 for other in others)


def shares(count: Counter) -> dict[str, float]:
    """What a count comes to, in [0, 1]; NaN where there is nothing to be found, or nothing was."""
    return {
        "word precision": _ratio(count["words_matched"], count["words_found"]),
        "word recall": _ratio(count["words_matched"], count["words"]),
        "char precision": _ratio(count["chars_matched"], count["chars_found"]),
        "char recall": _ratio(count["chars_matched"], count["chars"]),
        "precision in found words": _ratio(count["inner_matched"], count["inner_found"]),
        "recall in found words": _ratio(count["inner_matched"], count["inner_chars"]),
        "counts right": _ratio(count["counts_right"], count["words_matched"]),
        "single words found": _ratio(count["singles_matched"], count["singles"]),
        "single chars right": _ratio(count["singles_right"], count["singles"]),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def picture(
    photo: np.ndarray,
    words: Sequence[Word],
    polygons: Sequence[np.ndarray],
    chars: Sequence[np.ndarray],
) -> np.ndarray:
    """Annotated characters in green, found ones in orange, within thin outlines of found words."""
    zoom = max(1.0, LEAST_PICTURE / max(photo.shape[:2]))
    drawn = cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    drawn = draw_words(drawn, [zoom * p for p in polygons], (255, 255, 255), thickness=1)
    real = [zoom * word.chars for word in words if word.chars is not None]
    drawn = draw_chars(drawn, real, REAL_COLOUR, thickness=1)
    return draw_chars(drawn, [zoom * quads for quads in chars], FOUND_COLOUR, thickness=1)


def postprocessors(args: argparse.Namespace) -> list:
    """One for each isolated threshold, with the thresholds of the config or of the arguments."""
    settings = craft_postprocessor(args)
    for name in ("text_threshold", "link_threshold", "low_text"):
        if getattr(args, name) is not None:
            settings[name] = getattr(args, name)
    settings |= dict(find_chars=True, keep_score_maps=False)
    settings["text_repr_type"] = "poly" if args.polygons else "quad"
    return [
        MODELS.build({**settings, "isolated_threshold": threshold})
        for threshold in [None, *args.isolated_threshold]
    ]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("annotation", type=Path, metavar="ANN_JSON", help="MMOCR's, with chars")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR")
    add_network_options(parser)
    parser.add_argument("--text-threshold", type=float, metavar="T", help="least peak of a word")
    parser.add_argument("--link-threshold", type=float, metavar="T", help="links characters above")
    parser.add_argument("--low-text", type=float, metavar="T", help="text is above it")
    parser.add_argument(
        "--isolated-threshold",
        type=float,
        nargs="+",
        default=[],
        metavar="T",
        help="also with single characters from these peaks on",
    )
    parser.add_argument("--polygons", action="store_true", help="outlines that follow curved words")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write results.json and a picture of each photo"
    )
    args = parser.parse_args(argv)
    if args.threads < 1:
        parser.error("--threads must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    dataset = CharTextDataset(
        ann_file=str(args.annotation.resolve()),
        data_prefix=dict(img_path=str(args.images)),
        test_mode=True,
    )
    posts, source = postprocessors(args), MapSource(args)
    counts = [Counter() for _ in posts]
    for index in tqdm(range(len(dataset)), unit="photo", file=sys.stderr):
        data = dataset.get_data_info(index)
        path = Path(data["img_path"])
        name = path.relative_to(args.images) if path.is_relative_to(args.images) else path.name
        words = [word for word, _ in map(read_word, data["instances"]) if word is not None]
        maps = source(path, str(name))
        for post, count in zip(posts, counts, strict=True):
            scores = torch.from_numpy(maps.scores.astype(np.float32))
            found = post(scores[None], [maps.sample()])[0].pred_instances
            polygons = [polygon.reshape(-1, 2) for polygon in found.polygons]
            count.update(compare(words, polygons, found.chars))
        if args.out:  # of the last setting
            drawn = picture(read_photo(path), words, polygons, found.chars)
            target = (args.out / name).with_suffix(".png")
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, cv2.imencode(".png", drawn)[1].tobytes())
    if not sum(counts[0][key] for key in ("chars", "words")):
        raise ValueError(f"{args.annotation}: no word with 'chars'")
    report(counts, [None, *args.isolated_threshold])
    if args.out:
        results = [
            {"isolated_threshold": threshold, **count, **shares(count)}
            for threshold, count in zip([None, *args.isolated_threshold], counts, strict=True)
        ]
        settings = {key: str(value) for key, value in vars(args).items()}
        content = {"settings": settings, "results": results}
        write_atomically(args.out / "results.json", json.dumps(content, indent=1).encode())


def report(counts: Sequence[Counter], thresholds: Sequence[float | None]) -> None:
    """Print one table, a row for each threshold."""
    first = counts[0]
    table = Table(
        title=f"{first['chars']:,} annotated characters in {first['words']:,} words, "
        f"{first['singles']:,} of them single"
    )
    table.add_column("isolated threshold")
    for threshold in thresholds:
        table.add_column("none" if threshold is None else f"{threshold:g}", justify="right")
    results = [shares(count) for count in counts]
    for name in results[0]:
        table.add_row(name, *(f"{result[name]:.4f}" for result in results))
    Console().print(table)


if __name__ == "__main__":
    launch.run(main)
