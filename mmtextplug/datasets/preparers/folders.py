"""What lies below a folder that a user downloaded, and which part of a set each folder belongs to.

Owners, mirrors and other tools name folders differently: ``ch4_training_images``,
``Challenge2_Training_Task12_Images``, ``SceneTrialTrain``, ``textdet_imgs/train``. What they share
is a word for the part of the set somewhere in the path; the files themselves say the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmtextplug.datasets.icdar import natural
from mmtextplug.photos import SUFFIXES

# Cut-out words, masks of pixels and lists of words come with some sets; they are no scenes.
_NO_SCENES = re.compile(
    r"word_?images|recog|crop|mask|pixel|lexicon|vocabular|thumb", re.IGNORECASE
)
_TOKENS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True)
class Folder:
    """Files of one kind in one folder.

    Attributes:
        path (Path): The folder.
        files (tuple[Path, ...]): In natural order.
    """

    path: Path
    files: tuple[Path, ...]


def split_of(path: Path) -> str | None:
    """The part of a set that a path names last: 'train', 'val', 'test', or None.

    A folder that names two of them names none.
    """
    for part in reversed(path.parts):
        named = {name for token in _TOKENS.findall(part) if (name := _split_word(token.lower()))}
        if named:
            return named.pop() if len(named) == 1 else None
    return None


def _split_word(token: str) -> str | None:
    for name in ("train", "test"):
        if token.startswith(name):
            return name
    return "val" if token in ("val", "valid", "validation") else None


class Tree:
    """All files below a folder, hidden ones apart.

    Args:
        root (Path): The folder; links in it are followed.

    Raises:
        FileNotFoundError: If there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; name the one that was downloaded")
        self.root = root
        self.folders: list[Folder] = []
        seen = set()
        for where, below, names in os.walk(root, followlinks=True):
            real = os.path.realpath(where)
            if real in seen:  # links in a circle
                below.clear()
                continue
            seen.add(real)
            below[:] = sorted(d for d in below if not d.startswith(".") and d != "__MACOSX")
            names = sorted((n for n in names if not n.startswith(".")), key=natural)
            self.folders.append(Folder(Path(where), tuple(Path(where, name) for name in names)))

    def name(self, path: Path) -> str:
        """A path below the root, with slashes."""
        return path.relative_to(self.root).as_posix()

    def containing(self, accept: Callable[[Path], bool]) -> list[Folder]:
        """Folders with files that are accepted, and those files."""
        kept = (Folder(f.path, tuple(filter(accept, f.files))) for f in self.folders)
        return [folder for folder in kept if folder.files]

    def photos(self, exclude: re.Pattern | None = None) -> list[Folder]:
        """Folders of photos of scenes.

        Args:
            exclude (re.Pattern, optional): What paths of photos must not contain.
        """

        def accept(path: Path) -> bool:
            name = self.name(path)
            if path.suffix.lower() not in SUFFIXES or _NO_SCENES.search(name):
                return False
            return exclude is None or not exclude.search(name)

        return self.containing(accept)

    def of_split(self, folders: Sequence[Folder], split: str) -> tuple[list[Folder], bool]:
        """Folders of one part of a set; those that name none, where none names any.

        Returns:
            tuple[list[Folder], bool]: The folders, and whether they name the part.
        """
        named = self.naming(folders, lambda name: name == split)
        if named or self.naming(folders, bool):
            return named, True
        return list(folders), False

    def naming(
        self, folders: Iterable[Folder], accept: Callable[[str | None], object]
    ) -> list[Folder]:
        """Folders for which the part of a set that they name, or None, is accepted."""
        return [f for f in folders if accept(split_of(f.path.relative_to(self.root)))]


def choose(
    candidates: Sequence[Folder], wanted: set[str], key: Callable[[Path], str]
) -> tuple[list[Folder], list[Folder]]:
    """Folders that hold what is wanted, those with most of it first, no name twice.

    Args:
        candidates (Sequence[Folder]): In order of preference among equals.
        wanted (set[str]): Keys of the files' partners.
        key (callable): Of a file.

    Returns:
        tuple[list[Folder], list[Folder]]: The chosen ones, and those passed over because files of
        the same names were chosen before.
    """
    keys = [{key(path) for path in folder.files} for folder in candidates]
    order = sorted(range(len(candidates)), key=lambda i: -len(keys[i] & wanted))
    taken: set[str] = set()
    chosen, passed_over = [], []
    for i in order:
        useful = keys[i] & wanted
        if not useful:
            continue
        if useful & taken:
            passed_over.append(candidates[i])
            continue
        taken |= keys[i]
        chosen.append(candidates[i])
    return chosen, passed_over


class PhotoIndex:
    """Photos below a folder by what lists of words call them.

    Args:
        folders (Sequence[Folder]): Of `Tree.photos`.
    """

    def __init__(self, folders: Sequence[Folder]) -> None:
        self._by_stem: dict[str, list[Path]] = {}
        for folder in folders:
            for path in folder.files:
                self._by_stem.setdefault(path.stem.casefold(), []).append(path)

    def find(self, name: str, near: Path) -> tuple[Path | None, int]:
        """The photo that a list means: the one whose path ends most like the name.

        Args:
            name (str): With or without folders and suffix.
            near (Path): The list; photos in its folder or below come first.

        Returns:
            tuple[Path | None, int]: The photo, and how many others would do as well.
        """
        parts = [part.casefold() for part in name.replace("\\", "/").split("/")]
        stem = Path(parts[-1]).stem if Path(parts[-1]).suffix in SUFFIXES else parts[-1]
        found = self._by_stem.get(stem, [])
        if not found:
            return None, 0

        def likeness(path: Path) -> tuple[int, bool, bool]:
            same = 0
            for mine, theirs in zip(reversed(path.parts[:-1]), reversed(parts[:-1])):
                if mine.casefold() != theirs:
                    break
                same += 1
            return same, near.parent in path.parents, path.name.casefold() == parts[-1]

        best = max(map(likeness, found))
        alike = [path for path in found if likeness(path) == best]
        return alike[0], len(alike) - 1
