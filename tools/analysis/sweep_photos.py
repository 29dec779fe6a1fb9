"""Photos to choose thresholds on, and the test photos that must not be among them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from score_map_cache import read_config

from mmtextplug.datasets.char_text import CharTextDataset


def open_photos(args: argparse.Namespace) -> CharTextDataset:
    """The photos to sweep over.

    Raises:
        ValueError: If the config's val_dataloader has not exactly one annotation file.
    """
    if args.annotation:
        source = dict(
            ann_file=str(args.annotation.resolve()), data_prefix=dict(img_path=str(args.images))
        )
        return CharTextDataset(**source, test_mode=True)
    sources = list(annotated_sets(read_config(args).get("val_dataloader")))
    if len(sources) != 1:
        raise ValueError(
            f"{args.config}: val_dataloader has {len(sources)} datasets with an ann_file, one is "
            "needed; give ANN_JSON and --images"
        )
    return CharTextDataset(**sources[0], test_mode=True)


def annotated_sets(settings: object) -> Iterator[dict]:
    """Where the data of each dataset with an annotation file lie, whatever it is wrapped in."""
    if isinstance(settings, (list, tuple)):
        for one in settings:
            yield from annotated_sets(one)
    elif isinstance(settings, dict):
        if settings.get("ann_file"):
            keys = ("data_root", "ann_file", "data_prefix")
            yield {key: settings[key] for key in keys if settings.get(key)}
        for name in ("dataset", "datasets"):
            yield from annotated_sets(settings.get(name))


def warn_of_test_photos(photos: list[Path], args: argparse.Namespace) -> str:
    """A warning if thresholds would be chosen on test photos, or that this is not known; else ''.

    Raises:
        ValueError: If ``--test-annotation`` is no annotation file.
    """
    config = read_config(args) if args.config else Config()
    sources = [
        (Path(source.get("data_root", "")) / source["ann_file"], source)
        for source in annotated_sets(config.get("test_dataloader"))
    ]
    if args.test_annotation:
        sources = [(args.test_annotation, None)]
    if not sources:
        return "NOTE: not compared with test photos: name them by --test-annotation"
    own = {str(photo.resolve()) for photo in photos}
    warnings = []
    for path, source in sources:
        if not path.is_file():
            warnings.append(f"NOTE: not compared with test photos: {path} is not there")
            continue
        shared = len(own & test_photos(path, source, args))
        if shared:
            warnings.append(
                f"WARNING: {shared} of {len(photos)} photos are test photos of {path}: thresholds "
                "chosen on them make the test's result too good. Choose them on other photos."
            )
    return "\n".join(warnings)


def test_photos(path: Path, source: dict | None, args: argparse.Namespace) -> set[str]:
    """The paths of a test set's photos: of a config's dataset, or of an annotation file alone."""
    if source is not None:
        dataset = CharTextDataset(**source, check_images=False)
        names = [dataset.get_data_info(i)["img_path"] for i in range(len(dataset))]
        return {str(Path(name).resolve()) for name in names}
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = [entry["img_path"] for entry in content["data_list"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: --test-annotation must be MMOCR's JSON, a data_list whose entries have an "
            f"img_path ({type(error).__name__}: {error})"
        ) from error
    # Beside the file, or with the photos that are swept over.
    roots = [path.parent, *([args.images] if args.images else [])]
    return {str((root / name).resolve()) for name in names for root in roots}
