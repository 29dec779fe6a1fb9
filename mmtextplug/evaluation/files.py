"""Annotated and predicted words from the files that people have: JSON, folders and ZIP archives.

Images are told apart by their names without suffix, so that ``gt_img_1.txt``, ``res_img_1.txt`` and
``train/img_1.jpg`` are the same image. What does not fit is left out as a `Remark` that names file
and line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from mmtextplug.datasets.annotations import read_word
from mmtextplug.datasets.instances import Remark
from mmtextplug.datasets.word_lines import FORMATS, LineError, recognise_format
from mmtextplug.evaluation.overlaps import Predictions, Truth, is_outline
from mmtextplug.evaluation.prediction_lines import (
    Layout,
    leading_numbers,
    read_prediction,
    recognise_layout,
)
from mmtextplug.evaluation.sources import find_members, image_key, load_json, text_lines

T = TypeVar("T")


class FormatError(ValueError):
    """Lines are not in the format that they were taken for, or in none that is known."""


@dataclass
class Pages(dict[str, T]):
    """Words of images by their names, how they were read, and what was left out.

    Attributes:
        form (str): The format of the files.
        files (dict[str, str]): The photo of each image where it is known, as it is named in JSON.
        remarks (list[Remark]): What was left out, and why.
    """

    form: str = ""
    files: dict[str, str] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)


def read_truth(path: Path, form: str | None = None) -> Pages[Truth]:
    """Read annotated words.

    Args:
        path (Path): A JSON file as MMOCR has it, or a folder or ZIP archive of text files, one an
            image, of which those named ``.txt`` are read; in them ``###`` marks ignored words.
        form (str, optional): How lines are written, one of `FORMATS` or 'rotated'
            (x0,y0,x1,y1,angle,text). Default: recognised.

    Raises:
        FileNotFoundError: If there is nothing.
        FormatError: If its format is not recognised, or most lines do not fit it.
        ValueError: If it is neither, or two files have one name.
    """
    if path.suffix.lower() == ".json":
        return _read_json(path, _truth_of)
    lines, remarks = text_lines(path)
    pages: Pages[Truth] = Pages()
    pages.remarks = remarks
    if form is None:
        form = _recognise_truth(path, [one for page in lines.values() for one in page])
    pages.form = "x0,y0,x1,y1,angle,text" if form == "rotated" else FORMATS[form][1]
    for key, page in lines.items():
        outlines, texts = [], []
        for where, line in page:
            try:
                outline, text = _truth_line(line, form)
            except LineError as error:
                remarks.append(Remark(where, error.fault, error.remedy))
                continue
            if not is_outline(outline):
                fault = "outline has fewer than 3 points, or a NaN or infinite coordinate"
                remarks.append(Remark(where, fault, "correct the line"))
                continue
            outlines.append(outline)
            texts.append(text)
        # As the official evaluations have it; '*' may be a word.
        ignored = np.array([text == "###" for text in texts], dtype=bool)
        pages[key] = Truth(outlines, ignored, list(texts))
    _refuse_misread(path, pages, sum(map(len, lines.values())))
    return pages


def _recognise_truth(path: Path, lines: list[tuple[str, str]]) -> str:
    """The format of all lines; rotated boxes are taken for it where nothing else fits."""
    try:
        return recognise_format(lines)
    except ValueError as error:
        five = [leading_numbers(",".join(line.split(",")[:5])) for _, line in lines]
        if lines and all(len(one) == 5 and abs(one[4]) <= np.pi for one in five):
            return "rotated"
        raise FormatError(
            f"{path}: {error}, one of these or rotated: x0,y0,x1,y1,angle,text (truth_format)"
        ) from None


def _truth_line(line: str, form: str) -> tuple[np.ndarray, str]:
    if form == "rotated":
        fields = line.split(",", 5)
        try:
            numbers = [float(value) for value in fields[:5]]
            outline, _ = read_prediction(numbers, Layout("rotated", scored=False))
        except ValueError as error:
            raise LineError(f"does not fit rotated ({error})", "correct it") from None
        return outline, ",".join(fields[5:]).strip()
    values, text = FORMATS[form][0](line)
    return np.array(values, dtype=np.float64).reshape(-1, 2), text


def read_predictions(
    path: Path, layout: str | None = None, scored: bool | None = None
) -> Pages[Predictions]:
    """Read predicted words.

    Args:
        path (Path): A JSON file in the form of annotations, each instance with a ``polygon`` and,
            as it may be, a ``score``; or a folder or ZIP archive of text files as benchmarks take
            them (``res_img_1.txt``), or of the JSON files that ``tools/infer.py`` writes.
        layout (str, optional): Of the lines, one of `LAYOUTS`. Default: recognised.
        scored (bool, optional): Whether lines have scores. Default: recognised.

    Raises:
        FileNotFoundError: If there is nothing.
        FormatError: If its layout is not recognised, or most lines do not fit it.
        ValueError: If it is neither, or two files have one name.
    """
    if path.suffix.lower() == ".json":
        return _read_json(path, _predictions_of)
    members = find_members(path, ".json")
    if members and not find_members(path, ".txt"):
        return _read_photo_jsons(members)
    lines, remarks = text_lines(path)
    numbers = {
        key: [(where, leading_numbers(line)) for where, line in page] for key, page in lines.items()
    }
    try:
        found = recognise_layout(
            (one for page in numbers.values() for _, one in page), layout, scored
        )
    except ValueError as error:
        raise FormatError(f"{path}: {error}") from None
    pages: Pages[Predictions] = Pages()
    pages.form, pages.remarks = str(found), remarks
    for key, page in numbers.items():
        outlines, scores = [], []
        for where, one in page:
            try:
                outline, score = read_prediction(one, found)
            except ValueError as error:
                remarks.append(Remark(where, str(error), f"write {found}"))
                continue
            outlines.append(outline)
            scores.append(score)
        pages[key] = Predictions(outlines, np.array(scores, dtype=np.float64))
    _refuse_misread(path, pages, sum(map(len, lines.values())))
    return pages


def _refuse_misread(path: Path, pages: Pages, lines: int) -> None:
    """A ValueError if most lines do not fit: then it is not the lines that are wrong."""
    words = sum(len(page.outlines) for page in pages.values())
    if 2 * words < lines:
        faults = pages.remarks
        raise FormatError(
            f"{path}: only {words:,} of {lines:,} lines could be read as {pages.form}, the first "
            f"fault: {faults[0]}: choose another format"
        )


def pair_pages(
    truth: Pages[Truth], predictions: Pages[Predictions]
) -> tuple[list[tuple[str, Truth, Predictions]], list[Remark]]:
    """The words of each annotated image, in order, and remarks on images that one side lacks.

    Images without predictions have none; predictions for images that nobody annotated are left out.
    """
    if truth.files and predictions.files:  # photos are named as a whole, folders and all
        long = [any("/" in key for key in pages) for pages in (truth, predictions)]
        if long[0] != long[1]:
            truth, predictions = _rekeyed(truth), _rekeyed(predictions)
    nothing = Predictions([], np.zeros(0))
    pairs = [(key, page, predictions.get(key, nothing)) for key, page in truth.items()]
    remarks = [
        Remark(predictions.files.get(key, key), "predictions for an unknown image", "remove them")
        for key in predictions
        if key not in truth
    ]
    remarks += [
        Remark(truth.files.get(key, key), "no predictions for the image", "predict it", kept=True)
        for key in truth
        if key not in predictions
    ]
    return pairs, remarks


def _rekeyed(pages: Pages[T]) -> Pages[T]:
    """The same by the whole paths of the photos, without suffixes."""
    result: Pages[T] = Pages()
    result.form, result.remarks = pages.form, pages.remarks
    for key, page in pages.items():
        name = _long_key(pages.files[key])
        result[name] = page
        result.files[name] = pages.files[key]
    return result


def _long_key(file: str) -> str:
    return Path(file).with_suffix("").as_posix()


def _read_json(path: Path, words_of: Callable[[list[dict], str, list[Remark]], T]) -> Pages[T]:
    content = load_json(path)
    entries = content.get("data_list") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError(
            f"{path}: field 'data_list' is missing: MMOCR's annotation JSON is expected"
        )
    pages: Pages[T] = Pages()
    pages.form = "JSON"
    usable = []
    for number, entry in enumerate(entries):
        where = f"{path}: data_list[{number}]"
        try:
            usable.append((where, str(entry["img_path"]), list(entry["instances"])))
        except (KeyError, TypeError):
            remedy = "give it img_path and a list instances"
            pages.remarks.append(Remark(where, "entry is no image with words", remedy))
    keys = [image_key(file) for _, file, _ in usable]
    if len(set(keys)) < len(keys):  # photos of several folders, numbered anew in each
        keys = [_long_key(file) for _, file, _ in usable]
    for key, (where, file, instances) in zip(keys, usable):
        if key in pages:
            raise ValueError(f"{where}: {file} and {pages.files[key]} are one image; remove one")
        pages[key] = words_of(instances, where, pages.remarks)
        pages.files[key] = file
    return pages


def _truth_of(instances: list[dict], where: str, remarks: list[Remark]) -> Truth:
    words = []
    for index, instance in enumerate(instances):
        word, fault = read_word(instance) if isinstance(instance, dict) else (None, "no dict")
        if word is not None:
            words.append(word)
        else:
            remarks.append(Remark(f"{where}, instances[{index}]", fault, "correct or remove it"))
    ignored = np.array([word.ignored for word in words], dtype=bool)
    outlines = [word.polygon.astype(np.float64) for word in words]
    return Truth(outlines, ignored, [word.text for word in words])


def _predictions_of(instances: list[dict], where: str, remarks: list[Remark]) -> Predictions:
    outlines, scores = [], []
    for index, instance in enumerate(instances):
        fault = ""
        try:
            outline = np.asarray(instance["polygon"], dtype=np.float64).reshape(-1, 2)
            score = float(instance.get("score", 1.0))
            if not is_outline(outline):
                fault = "polygon has fewer than 3 points, or a NaN or infinite coordinate"
            elif not 0 <= score <= 1:
                fault = "score is not in [0, 1]"
        except (KeyError, TypeError, ValueError):
            fault = "polygon and score are no list of numbers and no number"
        if fault:
            remarks.append(Remark(f"{where}, instances[{index}]", fault, "correct or remove it"))
            continue
        outlines.append(outline)
        scores.append(score)
    return Predictions(outlines, np.array(scores, dtype=np.float64))


def _read_photo_jsons(members: list[Path]) -> Pages[Predictions]:
    pages: Pages[Predictions] = Pages()
    pages.form = "JSON of photos"
    for member in members:
        content = load_json(member)
        if not isinstance(content, dict) or not isinstance(content.get("words"), list):
            remedy = "take files that tools/infer.py wrote"
            pages.remarks.append(Remark(str(member), "no predictions of a photo", remedy))
            continue
        if content.get("exif_orientation", 1) != 1:
            fault = "photo was turned by its EXIF orientation, and annotations are not"
            pages.remarks.append(Remark(str(member), fault, "predict it as it is stored"))
            continue
        key = image_key(member.name.removesuffix(".json"))
        pages[key] = _predictions_of(content["words"], str(member), pages.remarks)
        pages.files[key] = str(content.get("image", member))
    return pages
