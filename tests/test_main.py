"""What registers, what stands in for what cannot, and what `python -m mmtextplug` says of it."""

from __future__ import annotations

import json
import re

import pytest

from mmtextplug.__main__ import main
from mmtextplug.registration import COMPONENTS, Component, register_all, register_missing

# A finder that hides packages, run in a fresh interpreter before anything else.
HIDE = """
import json, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
"""

BUILD = """
from mmengine.registry import MODELS
from mmtextplug.__main__ import main
try:
    MODELS.build(dict(type="CRAFTHead", in_channels=32))
except ImportError as error:
    state["error"] = str(error)
state["status"] = main()
print(json.dumps(state))
"""

STATE = """
import mmtextplug
state = {"registered": [], "missing": {}}
for component, error in mmtextplug.REGISTERED:
    for name in component.names:
        if error is None: state["registered"].append(name)
        else: state["missing"][name] = str(error)
"""


def names_needing(*packages: str) -> set[str]:
    """All registered names whose modules need one of these packages."""
    found = set()
    for component in COMPONENTS:
        if {need.partition(".")[0] for need in component.needs} & set(packages):
            found |= set(component.names)
    return found


ALL = {name for component in COMPONENTS for name in component.names}


def test_everything_registers_in_a_root_registry_as_our_own_class() -> None:
    pytest.importorskip("mmocr")
    import mmengine.registry

    import mmtextplug

    assert [str(error) for _, error in mmtextplug.REGISTERED if error] == []
    for component in COMPONENTS:
        registry = getattr(mmengine.registry, component.registry)
        for name in component.names:
            found = registry.get(name)
            assert found.__module__ == f"mmtextplug.{component.module}", name
            assert found.__name__ == name


def test_the_table_lists_every_class_that_is_registered(repository) -> None:
    pattern = re.compile(r"^@(\w+)\.register_module\(\)\n(?:@.*\n)*class (\w+)", re.MULTILINE)
    written = set()
    for file in (repository / "mmtextplug").rglob("*.py"):
        module = ".".join(file.relative_to(repository / "mmtextplug").with_suffix("").parts)
        for registry, name in pattern.findall(file.read_text(encoding="utf-8")):
            written.add((module, registry, name))
    listed = {(c.module, c.registry, name) for c in COMPONENTS for name in c.names}
    assert listed == written


def test_no_name_of_ours_is_one_of_mmdets_or_mmocrs() -> None:
    pytest.importorskip("mmocr")
    import mmdet.registry
    import mmdet.utils
    import mmocr.registry
    import mmocr.utils

    mmdet.utils.register_all_modules(init_default_scope=False)
    mmocr.utils.register_all_modules(init_default_scope=False)
    kinds = ("MODELS", "TRANSFORMS", "DATASETS", "HOOKS", "TASK_UTILS", "VISUALIZERS", "METRICS")
    for package in (mmdet.registry, mmocr.registry):
        for kind in kinds:
            taken = set(getattr(package, kind).module_dict)
            assert taken, (package.__name__, kind)
            assert taken & ALL == set(), (package.__name__, kind)


def test_a_bare_name_resolves_from_the_scope_of_mmocr_and_mmdet() -> None:
    pytest.importorskip("mmocr")
    import mmdet.registry
    import mmocr.registry

    import mmtextplug.craft.decoder as decoder

    for package in (mmocr.registry, mmdet.registry):
        assert package.MODELS.get("CRAFTDecoder") is decoder.CRAFTDecoder


def test_report_of_a_whole_installation(capsys) -> None:
    pytest.importorskip("mmocr")
    assert main() == 0
    report = capsys.readouterr().out
    lines = report.splitlines()
    assert re.fullmatch(r"mmtextplug \d+\.\d+\.\d+", lines[0])
    versions = dict(line.split()[:2] for line in lines if line.startswith("  "))
    for name in ("python", "torch", "mmengine", "mmcv", "mmdet", "mmocr", "numpy", "cv2"):
        assert re.match(r"\d+\.\d+", versions[name]), name
    assert re.search(r"mmcv +\S+ +compiled operators: yes", report)
    assert "CUDA: " in report
    assert "\nmissing\n" not in report
    said = report.split("\nregistered\n")[1].split()
    assert set(said) == ALL | {component.registry for component in COMPONENTS}


def test_report_names_the_lifted_ceiling_and_the_missing_operators(capsys, monkeypatch) -> None:
    from mmtextplug import __main__ as report
    from mmtextplug.compat import UpstreamError, import_upstream

    def without_operators(name: str):
        if name == "mmcv.ops":
            raise UpstreamError("mmcv.ops cannot be imported: nothing compiled; remedy: compile")
        return import_upstream(name)

    monkeypatch.setattr(report, "import_upstream", without_operators)
    monkeypatch.setattr(report, "ceilings_lifted", lambda: {"mmocr": "mmcv 9.9"})
    assert report.main() == 1
    printed = capsys.readouterr().out
    assert re.search(r"mmcv +\S+ +compiled operators: no\n", printed)
    assert re.search(r"mmocr +\S+ +its ceiling was lifted, it refuses mmcv 9.9\n", printed)
    assert printed.endswith(
        "\nmissing\n  mmcv.ops cannot be imported: nothing compiled; remedy: compile\n"
    )


def test_without_mmocr_the_rest_registers_and_everyone_is_told(python) -> None:
    code = HIDE.format(hidden={"mmocr", "mmdet"}) + STATE + BUILD
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    *report, last = result.stdout.splitlines()
    state = json.loads(last)
    waiting = names_needing("mmocr") | names_needing("mmdet")
    assert names_needing("mmocr") < waiting
    assert set(state["missing"]) == waiting
    assert set(state["registered"]) == ALL - waiting
    assert state["error"].endswith(
        "CRAFTHead is not available: mmdet is not installed; remedy: "
        "pip install --no-build-isolation onedl-mmdetection (or mmdet)"
    )
    assert state["status"] == 1
    missing = "\n".join(report).split("\nmissing\n")[1]
    assert missing.count("mmdet is not installed") == 1
    assert set(re.search(r"\(for (.*)\)", missing).group(1).split(", ")) == waiting


def test_without_mmengine_the_pure_functions_import(python) -> None:
    code = HIDE.format(hidden={"mmengine"}) + STATE
    code += "import mmtextplug.mining.select, mmtextplug.craft.gaussian\nprint(json.dumps(state))"
    result = python("-c", code)
    assert result.returncode == 0, result.stderr
    state = json.loads(result.stdout.splitlines()[-1])
    assert state["registered"] == []
    assert set(state["missing"]) == ALL
    for message in state["missing"].values():
        assert message.startswith("mmengine is not installed; remedy: pip install onedl-mmengine")


def test_a_defect_of_our_own_is_not_swallowed() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"mmtextplug\.not_written"):
        register_all([Component("not_written", "MODELS", ("NotWritten",))])


def test_a_placeholder_never_takes_the_place_of_a_component() -> None:
    mmengine_registry = pytest.importorskip("mmengine.registry")

    models = mmengine_registry.MODELS
    real = models.get("CRAFTDecoder")
    register_missing(["CRAFTDecoder", "NeverWritten"], "MODELS", "nothing to install")
    try:
        assert models.get("CRAFTDecoder") is real
        with pytest.raises(ImportError, match="NeverWritten is not available: nothing to install"):
            models.build({"type": "NeverWritten", "depth": 3})
    finally:
        models.module_dict.pop("NeverWritten")
