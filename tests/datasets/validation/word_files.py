"""Words, entries and annotation files to be validated."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np

from mmtextplug.datasets.annotation_files import named_source
from mmtextplug.datasets.validation import Validation
from mmtextplug.datasets.word_faults import check_words

METAINFO = {
    "dataset_type": "TextDetDataset",
    "task_name": "textdet",
    "category": [{"id": 0, "name": "text"}],
}


def word(left=10, top=10, text="word", *, width=10, height=20, **fields):
    """A word with characters of one width."""
    right, bottom = left + width * len(text), top + height
    edges = range(left, right + 1, width)
    chars = [[x, top, y, top, y, bottom, x, bottom] for x, y in pairwise(edges)]
    return {
        "polygon": [left, top, right, top, right, bottom, left, bottom],
        "bbox": [left, top, right, bottom],
        "bbox_label": 0,
        "ignore": False,
        "text": text,
        "chars": chars,
    } | fields


def without(instance, *names):
    return {key: value for key, value in instance.items() if key not in names}


def shaped(points, **fields):
    """A word of an outline, without characters and without a box."""
    instance = without(word(text="shaped"), "chars")
    low, high = np.min(points, 0), np.max(points, 0)
    box = np.concatenate([low, high]).tolist()
    return {**instance, "polygon": np.ravel(points).tolist(), "bbox": box, **fields}


def entry(name="0.png", instances=None, **fields):
    instances = [word()] if instances is None else instances
    return {"img_path": name, "height": 60, "width": 100, "instances": instances} | fields


def write(folder, entries, name="words.json", **fields):
    path = folder / name
    path.write_text(json.dumps({"metainfo": METAINFO, "data_list": entries} | fields))
    return path


def validate(path, images=None, **options):
    """All findings as (kind, where), and the summary."""
    found = []
    options.setdefault("log", lambda _, finding: found.append((finding.kind, finding.where)))
    summary = Validation(**options).run(named_source(path, images))
    return found, summary


def kinds(instance, size=(60, 100), **options):
    return [kind for _, kind, _ in check_words([instance], size, **options).faults]
