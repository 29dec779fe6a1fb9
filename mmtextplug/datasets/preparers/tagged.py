"""XML files: CTW1500's, one a photo; SVT's and ICDAR 2003's lists of tagged rectangles."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from mmtextplug.datasets.instances import RawWord, Remark
from mmtextplug.datasets.preparers.characters import (
    Spelled,
    attach,
    box_outline,
    ignore_unread,
)
from mmtextplug.datasets.preparers.finding import Listing, Page
from mmtextplug.datasets.word_lines import is_number


def read_ctw1500(path: Path) -> Iterator[RawWord | Remark]:
    """A training file of CTW1500: ``image/box`` with ``label`` and the 14 points of ``segs``.

    Raises:
        OSError: If the file cannot be read.
    """
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        yield Remark(f"{path}:{error.position[0]}", "is no XML", "correct or download it again")
        return
    for number, box in enumerate(root.iter("box"), 1):
        where = f"{path}, box {number}"
        numbers = (box.findtext("segs") or "").strip().strip(",").split(",")
        if not all(map(is_number, numbers)):
            yield Remark(where, "segs are no numbers with commas", "correct the box")
            continue
        yield RawWord(where, [*map(float, numbers)], (box.findtext("label") or "").strip())


def read_svt(path: Path, split: str) -> Listing:
    """SVT's ``train.xml`` or ``test.xml``. Only words of a place's own list are annotated.

    Raises:
        ValueError: If it is no such list.
        OSError: If the file cannot be read.
    """
    pages = []
    for name, where, rectangles in _images(path):
        words = [_rectangle(f"{where}, {kind}", node) for kind, node in rectangles]
        pages.append(Page(name, where, words))
    return Listing(pages)


def read_icdar2003(path: Path, split: str) -> Listing:
    """ICDAR 2003's ``words.xml``, with the characters of ``segmentation.xml`` if that is beside it.

    Raises:
        ValueError: If one of them is no such list.
        OSError: If one of them cannot be read.
    """
    cuts = {}
    beside = next((p for p in path.parent.iterdir() if p.name.lower() == "segmentation.xml"), None)
    for name, where, rectangles in _images(beside) if beside else ():
        words = (_cut(f"{where}, {kind}", node) for kind, node in rectangles)
        cuts[name] = [word for word in words if word is not None]
    pages = []
    for name, where, rectangles in _images(path):
        words: list[RawWord | Remark] = []
        for kind, node in rectangles:
            word = _rectangle(f"{where}, {kind}", node)
            words.append(word)
            turned = [key for key in ("rotation", "offset") if _number(node, key)]
            if turned and isinstance(word, RawWord):
                what = f"rectangle has a {' and a '.join(turned)}"
                words.append(Remark(word.where, what, "it is taken as upright", kept=True))
        words = list(ignore_unread(words))
        if beside:
            broken = [word for word in cuts.get(name, ()) if isinstance(word, Remark)]
            spelled = [word for word in cuts.get(name, ()) if isinstance(word, Spelled)]
            words = [*attach(words, spelled), *broken]
        pages.append(Page(name, where, words))
    listing = Listing(pages)
    for name in sorted(cuts.keys() - {page.name for page in pages}):
        listing.remarks.append(_cuts_of_no_words(f"{beside}, {name}", cuts[name]))
    return listing


def _cuts_of_no_words(where: str, cuts: list[Spelled | Remark]) -> Remark:
    count = sum(len(cut.chars) if isinstance(cut, Spelled) else cut.characters for cut in cuts)
    remedy = f"find its words; {count} characters are left out"
    return Remark(where, "characters of a photo without words here", remedy, characters=count)


def _images(path: Path) -> Iterator[tuple[str, str, list[tuple[str, ElementTree.Element]]]]:
    """Of each image of a ``tagset``: its name, where it stands, its rectangles and their names."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: is no XML: {error}; download it again") from None
    for number, image in enumerate(root.iter("image"), 1):
        name = (image.findtext("imageName") or "").strip()
        if not name:
            raise ValueError(f"{path}: image {number} has no imageName; download it again")
        nodes = image.iter("taggedRectangle")
        yield name, f"{path}, {name}", [(f"rectangle {i}", n) for i, n in enumerate(nodes, 1)]


def _number(node: ElementTree.Element, key: str) -> float | None:
    value = node.get(key, "")
    return float(value) if is_number(value) else None


def _box(node: ElementTree.Element) -> tuple[float, float, float, float] | None:
    x, y, width, height = (_number(node, key) for key in ("x", "y", "width", "height"))
    if None in (x, y, width, height):
        return None
    return x, y, x + width, y + height


def _rectangle(where: str, node: ElementTree.Element) -> RawWord | Remark:
    box = _box(node)
    if box is None:
        what = "rectangle without x, y, width and height"
        return Remark(where, what, "correct the rectangle")
    return RawWord(where, box_outline(*box), (node.findtext("tag") or "").strip())


def _cut(where: str, node: ElementTree.Element) -> Spelled | Remark | None:
    """Slices of a word between its cuts, which ``xOff`` counts from its left side."""
    box, text = _box(node), (node.findtext("tag") or "").strip()
    offsets = [(cut.text or "").strip() for cut in node.iter("xOff")]
    if box is None or not text:
        return None
    left, top, right, bottom = box
    letters = re.sub(r"\s", "", text)
    if not all(map(is_number, offsets)):
        remedy, count = "its characters are left out", len(letters)
        return Remark(where, "cut is no number", remedy, kept=True, characters=count)
    inner = [cut for cut in map(float, offsets) if 0 < cut < right - left]
    edges = [left, *(left + cut for cut in inner), right]
    outside = any(not 0 <= float(cut) <= right - left for cut in offsets)
    if outside or len(edges) != len(letters) + 1 or edges != sorted(edges):
        what = "cuts do not part the word into its characters"
        remedy, count = "its characters are left out", len(letters)
        return Remark(where, what, remedy, kept=True, characters=count)
    word = Spelled(where, "", [])
    for letter, start, end in zip(letters, edges, edges[1:]):
        word.add(letter, start, top, end, bottom)
    return word
