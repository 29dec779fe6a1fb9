"""SynthText below a folder: its ground truth, and the folder that the names in it start from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from mmtextplug.datasets.preparers.folders import Tree


def find_synthtext(tree: Tree) -> tuple[Path, Path]:
    """Find SynthText's ground truth and photos.

    Args:
        tree (Tree): The folder that was downloaded.

    Returns:
        tuple[Path, Path]: ``gt.mat``, and the folder of its photos.

    Raises:
        ValueError: If one of them is not there, or there are several ground truths.
    """
    truths = [f for folder in tree.folders for f in folder.files if f.name.lower() == "gt.mat"]
    if len(truths) != 1:
        found = f"several ground truths ({', '.join(map(str, truths))})" if truths else "no gt.mat"
        raise ValueError(f"{tree.root}: {found}; SynthText has one gt.mat and its photos")
    names = _image_names(truths[0])
    some = names[:: max(len(names) // 20, 1)]
    folders = {folder.path for folder in tree.folders}
    # Names start from the folder of gt.mat, or from one beside it.
    order = sorted(folders, key=lambda path: (path != truths[0].parent, len(path.parts), path))
    for folder in order:
        if any((folder / name).is_file() for name in some):
            return truths[0], folder
    raise ValueError(
        f"{tree.root}: none of {len(some)} photos of {truths[0]} is there, such as {some[0]}"
        if some
        else f"{truths[0]}: names no photos"
    )


def _image_names(path: Path) -> list[str]:
    try:
        content = scipy.io.loadmat(path, variable_names=["imnames"])["imnames"]
    except OSError:
        raise
    except Exception as error:  # SciPy raises whatever it likes on damaged files
        raise ValueError(
            f"{path}: cannot be read as SynthText's ground truth ({type(error).__name__}); "
            "download it again"
        ) from None
    return [str(np.ravel(name)[0]) for name in np.ravel(content) if np.size(name)]
