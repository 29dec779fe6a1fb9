"""What pyproject.toml cannot say: configs, tools and the index of models go into the package.

OpenMMLab's `mim` and `mmengine.hub` look for them in `mmtextplug/.mim`. A wheel gets copies, built
from a checkout or an sdist alike; an editable installation gets links, so that edits count.
Everything else stands in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = "mmtextplug"
FOLDERS = {"configs": {".py", ".yml"}, "tools": {".py", ".sh"}}
INDEX = "model-index.yml"
# They make the environment of a checkout, its demo and its light detector, and write there.
CHECKOUT_ONLY = {
    f"tools/{name}.py"
    for name in (
        "setup_env",
        "setup_progress",
        "demo",
        "demo_pictures",
        "training_stage",
        "steps",
        "train_light",
    )
}


def mim_files(root: Path) -> list[str]:
    """The files for `.mim`, relative to a checkout or an unpacked sdist, in order.

    Hidden files, caches and what else training leaves in these folders stay out.
    """
    found = [INDEX]
    for folder, suffixes in FOLDERS.items():
        for path in (root / folder).rglob("*"):
            name = path.relative_to(root)
            hidden = any(part.startswith((".", "__pycache__")) for part in name.parts)
            if path.is_file() and path.suffix in suffixes and not hidden:
                found.append(name.as_posix())
    return sorted(set(found) - CHECKOUT_ONLY)


class BuildPy(build_py.build_py):
    """Setuptools' own command, then `.mim`."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            self._link()
            return
        built = Path(self.build_lib) / PACKAGE
        # Setuptools would pack what an earlier build left there, modules since renamed included.
        if built.is_dir() and built.resolve() != ROOT / PACKAGE:
            shutil.rmtree(built)
        super().run()
        for target, source in self._mim().items():
            self.mkpath(os.path.dirname(target))
            self.copy_file(source, target, preserve_mode=True)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return sorted({*super().get_outputs(include_bytecode), *self._mim()})

    def get_output_mapping(self) -> dict[str, str]:
        return super().get_output_mapping() | self._mim()

    def _mim(self) -> dict[str, str]:
        folder = Path(self.build_lib) / PACKAGE / ".mim"
        return {str(folder / name): name for name in mim_files(ROOT)}

    def _link(self) -> None:
        folder = ROOT / PACKAGE / ".mim"
        folder.mkdir(exist_ok=True)
        for name in (*FOLDERS, INDEX):
            link = folder / name
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..", "..", name))


setup(cmdclass={"build_py": BuildPy})
