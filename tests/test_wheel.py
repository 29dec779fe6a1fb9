"""The wheel: what is in it and what is not, and that it is enough, away from the checkout."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = 77  # pyproject.toml: the first setuptools that knows a licence as an expression

if int(importlib.metadata.version("setuptools").partition(".")[0]) < NEEDED:
    pytest.skip(f"setuptools {NEEDED} or newer builds this", allow_module_level=True)

ENV = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | {
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INDEX": "1",
}
# What a checkout gathers, and no wheel may hold.
LITTER = (
    "configs/craft/__pycache__/a.cpython-311.pyc",
    "configs/craft/.hidden.py",
    "configs/craft/weights.pth",
    "tools/__pycache__/train.cpython-311.pyc",
    "tools/.ipynb_checkpoints/train.py",
    "mmtextplug/__pycache__/version.cpython-311.nbi",
    "mmtextplug/.mim/tools/old_tool.py",
    "build/lib/mmtextplug/renamed_since.py",
    "build/lib/mmtextplug/.mim/configs/craft/renamed_since.py",
    "work_dirs/run/a.py",
)


def run(*command: object, cwd: Path, env: dict[str, str] = ENV) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources() -> list[str]:
    """The files of the checkout, hidden ones and those that git ignores left out."""
    folders = ("configs", "mmtextplug", "requirements", "tests", "tools")
    kinds = {".py", ".sh", ".yml", ".txt"}
    found = [
        path.relative_to(ROOT)
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in kinds
    ]
    found += [path.relative_to(ROOT) for path in (ROOT / "mmtextplug" / "weights").iterdir()]
    names = ("LICENSE", "MANIFEST.in", "Makefile", "README.md", "model-index.yml")
    found += [Path(name) for name in (*names, "pyproject.toml", "setup.py")]
    return [path.as_posix() for path in found if not any(p[0] == "." for p in path.parts)]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the sources, with what lies around in checkouts."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in sources():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for name in LITTER:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def wheel(checkout) -> Path:
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", "dist")
    run("-m", "pip", "wheel", *options, ".", cwd=checkout)
    (path,) = (checkout / "dist").glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(checkout, wheel) -> list[str]:
    """The names in the sdist, without its own folder."""
    build = "from setuptools import build_meta; build_meta.build_sdist('dist')"
    run("-c", build, cwd=checkout)
    (path,) = (checkout / "dist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = [member.name for member in archive.getmembers() if member.isfile()]
    return [name.partition("/")[2] for name in files]


def expected(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(f"{folder}/")]


def test_the_wheel_holds_package_configs_tools_and_index_alone(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    checkout_only = {"setup_env", "setup_progress", "demo", "demo_pictures", "training_stage"}
    checkout_only |= {"steps", "train_light"}
    there = sources()
    tools = [n for n in expected("tools", there) if Path(n).stem not in checkout_only]
    wanted = [*expected("mmtextplug", there), "mmtextplug/.mim/model-index.yml"]
    wanted += [f"mmtextplug/.mim/{name}" for name in (*expected("configs", there), *tools)]
    found = [name for name in names if ".dist-info/" not in name]
    assert sorted(found) == sorted(wanted)
    assert "mmtextplug/.mim/tools/train.py" in found
    assert "mmtextplug/.mim/configs/craft/metafile.yml" in found


def test_scripts_stay_executable(wheel):
    info = zipfile.ZipFile(wheel).getinfo("mmtextplug/.mim/tools/dist_train.sh")
    assert info.external_attr >> 16 & 0o111


def test_the_metadata_of_the_wheel(wheel):
    archive = zipfile.ZipFile(wheel)
    (folder,) = {n.partition("/")[0] for n in archive.namelist() if ".dist-info/" in n}
    assert archive.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert archive.read(f"{folder}/top_level.txt").split() == [b"mmtextplug"]
    metadata = message_from_bytes(archive.read(f"{folder}/METADATA"))
    version = {}
    exec((ROOT / "mmtextplug/version.py").read_text(), version)
    assert metadata["Version"] == version["__version__"]
    assert metadata["License-Expression"] == "Apache-2.0"
    needs = metadata.get_all("Requires-Dist")
    # Two distributions own the files of mmcv, torch comes in many builds: neither is asked for.
    always = [need for need in needs if "extra ==" not in need]
    assert not [need for need in always if need.startswith(("torch", "mm", "onedl"))]
    extras = {"openmmlab", "weights", "onnx", "openvino", "dev", "benchmark"}
    assert set(metadata.get_all("Provides-Extra")) == extras


def test_the_sdist_is_a_checkout(sdist):
    there = set(sources())
    assert there <= set(sdist)
    assert not there & set(LITTER)
    assert not set(sdist) & set(LITTER)


AWAY = """
import contextlib, io, runpy, sys
from pathlib import Path

import mmtextplug

home = Path(mmtextplug.__file__).parent
assert home.parent == Path(sys.argv[1]), home
mim = home / ".mim"

from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import MODELS, init_default_scope

assert Path(BaseInferencer._get_repo_or_mim_dir("mmtextplug")) == mim
models = list(BaseInferencer._get_models_from_metafile(str(mim)))
demo = next(model for model in models if model["Name"] == "craft_resnet18_demo")
cfg = Config.fromfile(mim / demo["Config"])
init_default_scope(cfg.default_scope)
model = MODELS.build(cfg.model)
print(type(model).__name__, sum(p.numel() for p in model.parameters()))
for tool in ("train.py", "analysis/get_flops.py"):
    sys.argv = [str(mim / "tools" / tool), "--help"]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    with contextlib.suppress(SystemExit):
        runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_works_away_from_the_checkout(wheel, tmp_path):
    target = tmp_path / "installed"
    options = ("--no-deps", "--no-compile", "--target", target)
    run("-m", "pip", "install", *options, wheel, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    printed = run("-c", AWAY, target, cwd=elsewhere, env=ENV | {"PYTHONPATH": str(target)})
    assert "CRAFT 834578" in printed
    assert "usage: train.py" in printed
    assert "usage: get_flops.py" in printed


def test_an_editable_installation_gets_links(checkout, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns("build", "dist", ".mim"))
    build = f"from setuptools import build_meta; build_meta.build_editable({str(tmp_path)!r})"
    for _ in range(2):  # again over what is there
        run("-c", build, cwd=copy)
    for name in ("configs", "tools", "model-index.yml"):
        link = copy / "mmtextplug/.mim" / name
        assert link.is_symlink()
        assert link.resolve() == (copy / name).resolve()
    # A wheel from there holds copies, and nothing twice.
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "dist")
    run("-m", "pip", "wheel", *options, ".", cwd=copy)
    (path,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(path).namelist()
    assert len(set(names)) == len(names)
    assert names.count("mmtextplug/.mim/configs/craft/craft_resnet18_demo.py") == 1
