"""The files of one part of a set: annotations a photo each, or lists of many photos' words."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmtextplug.datasets.icdar import Pairs, file_key, pair_files
from mmtextplug.datasets.instances import RawWord, Remark
from mmtextplug.datasets.preparers.folders import Folder, PhotoIndex, Tree, choose, split_of
from mmtextplug.datasets.preparers.frame import Material, MissingFilesError

Words = Iterable[RawWord | Remark]


@dataclass(frozen=True)
class FilePerPhoto:
    """Sets with an annotation file a photo, found by their names.

    Attributes:
        names (tuple[str, ...]): What names of annotation files look like (regular expressions), the
            preferred ones first.
        example (str): Of annotations and their folder, for messages.
        read (callable): The words of a file, and remarks.
        exclude (str): What paths of annotations and photos never contain, '' for nothing.
        key (callable): What the names of a photo and its annotation have in common.
    """

    names: tuple[str, ...]
    example: str
    read: Callable[[Path], Words]
    exclude: str = ""
    key: Callable[[Path], str] = file_key

    def find(self, tree: Tree, split: str) -> Material:
        """The photos and annotations of one part of the set.

        Where folders of photos name the part and none of annotations does, or the reverse, those
        that name no part serve, if their files belong to no other part as well.

        Raises:
            MissingFilesError: If there are no photos, no annotations, or none that belong together.
        """
        exclude = re.compile(self.exclude, re.IGNORECASE) if self.exclude else None
        all_photos, all_annotations = tree.photos(exclude), self._annotations(tree, exclude)
        photos, named = tree.of_split(all_photos, split)
        annotations, also_named = tree.of_split(all_annotations, split)
        half = bool((named and photos) or (also_named and annotations))
        if named and photos and not (also_named and annotations):
            annotations = self._unnamed(tree, split, all_annotations, photos, all_photos)
        elif also_named and annotations and not (named and photos):
            photos = self._unnamed(tree, split, all_photos, annotations, all_annotations)
        wanted = {self.key(path) for folder in annotations for path in folder.files}
        chosen, passed_over = choose(photos, wanted, self.key)
        wanted = {self.key(path) for folder in chosen for path in folder.files}
        partners, rest = choose(annotations, wanted, self.key)
        if not partners:
            raise _missing(tree, split, photos, annotations, self.example, half)
        pairs = pair_files(
            [path for folder in chosen for path in folder.files],
            [path for folder in partners for path in folder.files],
            self.key,
        )
        return Material(
            pairs,
            self._read,
            [("photos", folder.path, len(folder.files)) for folder in chosen]
            + [("annotations", folder.path, len(folder.files)) for folder in partners],
            passed_over + rest,
            named or also_named,
        )

    def _read(self, path: Path) -> list[RawWord | Remark]:
        found = list(self.read(path))
        if not found and not path.read_bytes().removeprefix(codecs.BOM_UTF8).strip():
            remedy = "its photo counts as one without words: download it again if it has some"
            found.append(Remark(str(path), "annotation file is empty", remedy, kept=True))
        return found

    def _annotations(self, tree: Tree, exclude: re.Pattern | None) -> list[Folder]:
        folders = []
        for pattern in self.names:
            name = re.compile(pattern, re.IGNORECASE)

            def accept(path: Path, name: re.Pattern = name) -> bool:
                if exclude is not None and exclude.search(tree.name(path)):
                    return False
                return name.fullmatch(path.name) is not None

            folders += tree.containing(accept)
        return folders

    def _unnamed(
        self,
        tree: Tree,
        split: str,
        folders: Sequence[Folder],
        partners: Sequence[Folder],
        all_partners: Sequence[Folder],
    ) -> list[Folder]:
        """Folders that name no part of the set, and whose files can only belong to this one."""
        unnamed = tree.naming(folders, lambda name: name is None)
        rivals = tree.naming(all_partners, lambda name: name not in (None, split))
        mine, others = (
            {self.key(path) for folder in part for path in folder.files}
            for part in (partners, rivals)
        )
        for folder in unnamed:
            names = {self.key(path) for path in folder.files} & mine
            if names & others:
                raise MissingFilesError(
                    f"{tree.root}: {split}: files in {folder.path} could belong to "
                    f"{partners[0].path} or to {rivals[0].path}: rename it so that it holds the "
                    "name of its part of the set, or move it elsewhere",
                    True,
                )
        return unnamed


@dataclass
class Page:
    """What a list says about one photo.

    Attributes:
        name (str): Of the photo, with folders or suffix or without.
        where (str): Of the entry.
        words (list[RawWord | Remark]): Its words.
    """

    name: str
    where: str
    words: list[RawWord | Remark] = field(default_factory=list)


@dataclass
class Listing:
    """What a list holds.

    Attributes:
        pages (list[Page]): Photos of the part of the set that was asked for.
        others (set[str]): Names of photos of other parts.
        remarks (list[Remark]): About entries that belong to no photo.
    """

    pages: list[Page]
    others: set[str] = field(default_factory=set)
    remarks: list[Remark] = field(default_factory=list)


@dataclass(frozen=True)
class ListOfPhotos:
    """Sets with one file about many photos.

    Attributes:
        names (str): What its name looks like, a regular expression.
        example (str): Of the list and the photos, for messages.
        read (callable): The photos that a list names, of one part of the set.
        every_photo (bool): Whether photos that no list names are missing in it.
        all_splits (bool): Whether a list is about all parts of the set.
    """

    names: str
    example: str
    read: Callable[[Path, str], Listing]
    every_photo: bool = True
    all_splits: bool = False

    def find(self, tree: Tree, split: str) -> Material:
        """The photos and words of one part of the set.

        Raises:
            MissingFilesError: If there is no list, or none of its photos.
            ValueError: If there are several lists, or one that cannot be read.
        """
        folders = tree.photos()
        lists = [path for folder in tree.containing(self._fits) for path in folder.files]
        splits = [split_of(path.relative_to(tree.root).with_suffix("")) for path in lists]
        sure = self.all_splits or any(splits)
        mine = lists
        if not self.all_splits and any(splits):
            mine = [path for path, name in zip(lists, splits) if name == split]
        if len(mine) > 1:
            found = ", ".join(map(str, mine))
            raise ValueError(f"{split}: several lists of words: {found}; leave one of them there")
        listing = self.read(mine[0], split) if mine else Listing([])
        if not listing.pages:
            # A list of other parts of the set says nothing about its photos.
            raise _missing(
                tree, split, [] if lists else folders, [], self.example, bool(folders and not lists)
            )
        named = {_stem(page.name) for page in listing.pages} | set(map(_stem, listing.others))
        rest = [] if self.all_splits else [path for path in lists if path not in mine]
        for other in rest:
            try:
                named |= {_stem(page.name) for page in self.read(other, split).pages}
            except ValueError as error:
                what = "list of another part cannot be read"
                remedy = f"photos that only it names count as without annotation ({error})"
                listing.remarks.append(Remark(str(other), what, remedy, kept=True))
        pairs, taken = self._pairs(folders, listing, mine[0], named)
        if not pairs.both:
            raise _missing(tree, split, [], mine, self.example, True)
        counts = [("photos", folder.path, len(folder.files)) for folder in taken]
        counts.append(("annotations", mine[0], len(listing.pages)))
        return Material(pairs, lambda page: page.words, counts, sure=sure)

    def _fits(self, path: Path) -> bool:
        return re.fullmatch(self.names, path.name, re.IGNORECASE) is not None

    def _pairs(
        self, folders: Sequence[Folder], listing: Listing, path: Path, named: set[str]
    ) -> tuple[Pairs, list[Folder]]:
        """The photos of a list, and the folders in which they lie."""
        index = PhotoIndex(folders)
        pairs = Pairs([], [], [], list(listing.remarks))
        for page in listing.pages:
            photo, others = index.find(page.name, path)
            if photo is None:
                pairs.lonely_annotations.append(page.name)
                continue
            if others:
                what = f"one of {others + 1} photos of this name is taken"
                page.words.append(Remark(str(photo), what, "leave one of them", kept=True))
            pairs.both.append((photo, page))
        used = {photo.parent for photo, _ in pairs.both}
        taken = [folder for folder in folders if folder.path in used]
        if self.every_photo:
            pairs.lonely_images += [
                photo
                for folder in taken
                for photo in folder.files
                if _stem(photo.name) not in named
            ]
        return pairs, taken


def _stem(name: str) -> str:
    return file_key(Path(name.replace("\\", "/")))


def _missing(
    tree: Tree, split: str, photos: Sequence, annotations: Sequence, example: str, half: bool
) -> MissingFilesError:
    if photos and annotations:
        what = "photos and annotations whose names do not belong together"
    else:
        what = "no photos" if annotations else "no annotations" if photos else "nothing"
    there = [tree.name(folder.path) for folder in tree.folders if folder.files][:6]
    found = ", ".join(there) + (", ..." if len(there) == 6 else "") if there else "no file"
    archives = [path.name for folder in tree.folders for path in folder.files if _packed(path)]
    unpack = f"; unpack {', '.join(archives[:3])} first" if archives else ""
    return MissingFilesError(
        f"{tree.root}: {split}: {what} found. Looked for {example}, in folders whose names hold "
        f"'{split}', or none of them a part of the set (found files in: {found}){unpack}",
        half,
    )


def _packed(path: Path) -> bool:
    return path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz", ".rar", ".7z")
