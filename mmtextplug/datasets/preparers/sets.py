"""The sets that can be prepared: where their files are, how they are read, how many there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmtextplug.datasets.icdar import file_key, natural, parse_lines
from mmtextplug.datasets.instances import Remark
from mmtextplug.datasets.preparers import lists, tagged
from mmtextplug.datasets.preparers.characters import (
    Spelled,
    attach,
    ignore_unread,
    read_segmentation,
)
from mmtextplug.datasets.preparers.finding import (
    FilePerPhoto,
    Listing,
    ListOfPhotos,
    Page,
    Words,
)
from mmtextplug.datasets.preparers.folders import Tree, choose
from mmtextplug.datasets.preparers.frame import Material
from mmtextplug.datasets.preparers.line_formats import parse_ctw1500, parse_msra_td500
from mmtextplug.datasets.preparers.totaltext import read_totaltext
from mmtextplug.datasets.word_lines import parse_box, parse_quad, parse_script_quad

_TEXT = (r".*\.txt",)


def lines(parse: Callable[[str], tuple]) -> Callable[[Path], Words]:
    """A reader of files with a word a line."""
    return lambda path: parse_lines(path, parse)


_ICDAR2013 = FilePerPhoto(
    (r"(?!.*_gt\.txt$).*\.txt",),
    "photos such as Challenge2_Training_Task12_Images/100.jpg, and words such as "
    "Challenge2_Training_Task1_GT/gt_100.txt",
    lines(parse_box),
    exclude=r"_gt\.bmp$",
)
_ICDAR2003_EXAMPLE = (
    "SceneTrialTrain/words.xml (with segmentation.xml for characters; locations.xml has no words) "
    "and photos such as SceneTrialTrain/apanar_06.08.2002/IMG_1261.JPG; or chars.json with "
    "word_gts/gt_1.txt and images/1.jpg"
)
_ICDAR2003_TEXTS = FilePerPhoto(_TEXT, _ICDAR2003_EXAMPLE, lines(parse_box))


def find_icdar2013(tree: Tree, split: str) -> Material:
    """ICDAR 2013's words, with the characters of the segmentation task where they are there."""
    material = _ICDAR2013.find(tree, split)
    files = tree.containing(lambda path: path.name.lower().endswith("_gt.txt"))
    photos = {file_key(image) for image, _ in material.pairs.both}
    folders, rest = choose(tree.of_split(files, split)[0], photos, _character_key)
    if not folders:
        return material
    by_key = {_character_key(path): path for folder in folders for path in folder.files}
    material.taken += [("characters", folder.path, len(folder.files)) for folder in folders]
    material.passed_over += rest
    for key in sorted(by_key.keys() - photos):
        count = sum(len(word.chars) for word in read_segmentation(by_key[key])[0])
        what, remedy = "characters of no photo", "find the photo"
        remark = Remark(str(by_key[key]), what, remedy, kept=True, characters=count)
        material.pairs.remarks.append(remark)
    read = material.read

    def read_both(path: Path) -> Words:
        words = list(read(path))
        characters = by_key.get(file_key(path))
        if characters is None:
            remedy = "its words are kept without"
            return [*words, Remark(str(path), "photo without characters", remedy, kept=True)]
        spelled, remarks = read_segmentation(characters)
        return [*attach(words, spelled), *remarks]

    material.read = read_both
    return material


def _character_key(path: Path) -> str:
    return file_key(path).removesuffix("_gt")


def find_icdar2003(tree: Tree, split: str) -> Material:
    """ICDAR 2003 as its owners gave it out, or as ``chars.json`` with a file of words a photo."""
    names = {path.name.lower() for folder in tree.folders for path in folder.files}
    if "chars.json" in names and not names & {"words.xml", "segmentation.xml"}:
        return _find_characters(tree, split)
    name = r"segmentation\.xml" if "words.xml" not in names else r"words\.xml"
    return ListOfPhotos(name, _ICDAR2003_EXAMPLE, tagged.read_icdar2003).find(tree, split)


def _find_characters(tree: Tree, split: str) -> Material:
    if not any(path.suffix.lower() == ".txt" for f in tree.folders for path in f.files):
        return ListOfPhotos(r"chars\.json", _ICDAR2003_EXAMPLE, _words_of_characters).find(
            tree, split
        )
    material = _ICDAR2003_TEXTS.find(tree, split)
    spelled: dict[str, list[Spelled]] = {}
    found = tree.containing(lambda path: path.name.lower() == "chars.json")
    for folder in found:
        for name, words in lists.read_characters(folder.files[0]):
            spelled.setdefault(file_key(Path(name)), []).extend(s for _, s in words)
    material.taken += [("characters", folder.files[0], len(spelled)) for folder in found]
    read = material.read
    material.read = lambda path: attach(ignore_unread(read(path)), spelled.get(file_key(path), []))
    # Photos of other parts of the set are no matter of this one.
    others = {file_key(path) for folder in tree.photos() for path in folder.files}
    others -= {file_key(path) for path in material.pairs.lonely_images}
    others |= {file_key(image) for image, _ in material.pairs.both}
    for key in sorted((key for key in spelled.keys() - others if spelled[key]), key=natural):
        count = sum(len(word.chars) for word in spelled[key])
        remedy = f"find its photo or words; {count} characters are left out"
        what = "characters of a photo without words here"
        where = spelled[key][0].where
        material.pairs.remarks.append(Remark(where, what, remedy, characters=count))
    return material


def _words_of_characters(path: Path, split: str) -> Listing:
    pages = []
    for name, words in lists.read_characters(path):
        found = attach(ignore_unread(word for word, _ in words), [spelled for _, spelled in words])
        pages.append(Page(name, f"{path}, {name}", list(found)))
    return Listing(pages)


def _read_ctw1500(path: Path) -> Words:
    if path.suffix.lower() == ".xml":
        return tagged.read_ctw1500(path)
    return parse_lines(path, parse_ctw1500)


@dataclass(frozen=True)
class TextSet:
    """A published set.

    Attributes:
        title (str): Its name.
        counts (dict[str, int]): Its parts, and how many photos each has been published with.
        find (callable): The files of one part below a folder.
        always_words (bool): Whether every photo has words.
    """

    title: str
    counts: dict[str, int]
    find: Callable[[Tree, str], Material]
    always_words: bool = False


SETS: dict[str, TextSet] = {
    "icdar2003": TextSet("ICDAR 2003", {"train": 258, "test": 251}, find_icdar2003),
    "icdar2013": TextSet(
        "ICDAR 2013", {"train": 229, "test": 233}, find_icdar2013, always_words=True
    ),
    "icdar2015": TextSet(
        "ICDAR 2015",
        {"train": 1000, "test": 500},
        FilePerPhoto(
            _TEXT,
            "photos such as ch4_training_images/img_1.jpg and words such as "
            "ch4_training_localization_transcription_gt/gt_img_1.txt",
            lines(parse_quad),
        ).find,
        always_words=True,
    ),
    "mlt2017": TextSet(
        "ICDAR 2017 MLT",
        {"train": 7200, "val": 1800},
        FilePerPhoto(
            _TEXT,
            "photos such as ch8_training_images_1/img_1.jpg and words such as "
            "ch8_training_localization_transcription_gt_v2/gt_img_1.txt",
            lines(parse_script_quad),
        ).find,
    ),
    "art": TextSet(
        "ICDAR 2019 ArT",
        {"train": 5603},
        ListOfPhotos(
            r"train_labels\.json|art.*\.json",
            "train_labels.json and photos such as train_images/gt_0.jpg",
            lists.read_art,
        ).find,
    ),
    "totaltext": TextSet(
        "Total-Text",
        {"train": 1255, "test": 300},
        FilePerPhoto(
            (r".*\.txt", r".*\.mat"),
            "photos such as Images/Train/img11.jpg and words such as Train/poly_gt_img11.txt, "
            "Train/poly_gt_img11.mat or Train/img11.jpg.txt",
            read_totaltext,
            exclude=r"(?<![a-z])rect",
        ).find,
        always_words=True,
    ),
    "ctw1500": TextSet(
        "SCUT-CTW1500",
        {"train": 1000, "test": 500},
        FilePerPhoto(
            (r".*\.xml", r".*\.txt"),
            "photos such as train_images/0001.jpg and lines such as ctw1500_train_labels/0001.xml "
            "(test: 0001001.txt)",
            _read_ctw1500,
            key=lambda path: file_key(path).lstrip("0"),
        ).find,
        always_words=True,
    ),
    "msra_td500": TextSet(
        "MSRA-TD500",
        {"train": 300, "test": 200},
        FilePerPhoto(
            (r".*\.gt", r".*\.txt"),
            "photos and lines such as train/IMG_0030.JPG and train/IMG_0030.gt, or "
            "train_images/IMG_0030.JPG and train_gts/IMG_0030.JPG.txt",
            lines(parse_msra_td500),
            exclude=r"tr.?400",
        ).find,
    ),
    "hust_tr400": TextSet(
        "HUST-TR400",
        {"train": 400},
        FilePerPhoto(
            (r".*\.gt", r".*\.txt"),
            "photos and lines such as 0001.jpg and 0001.gt, or train_images/0001.jpg and "
            "train_gts/0001.jpg.txt",
            lines(parse_msra_td500),
            exclude=r"td.?500",
        ).find,
    ),
    "cocotext": TextSet(
        "COCO-Text",
        {"train": 43686, "val": 10000},
        ListOfPhotos(
            r"coco_?text.*\.json|train\.json",
            "cocotext.v2.json or COCO_Text.json and photos such as "
            "train2014/COCO_train2014_000000000036.jpg",
            lists.read_cocotext,
            every_photo=False,
            all_splits=True,
        ).find,
    ),
    "svt": TextSet(
        "Street View Text",
        {"train": 100, "test": 249},
        ListOfPhotos(
            r"(train|test)\.xml",
            "svt1/train.xml, svt1/test.xml and photos such as svt1/img/14_03.jpg",
            tagged.read_svt,
        ).find,
    ),
}
"""Sets by the names of their commands."""
