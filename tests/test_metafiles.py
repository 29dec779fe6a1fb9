"""The index of models: true to the folder of configs, readable to OpenMMLab's tools."""

from __future__ import annotations

import re
from math import isclose
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("craft", "dbnet", "faster_rcnn", "cascade_rcnn", "mask_rcnn")


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def metafiles() -> dict[str, dict]:
    """What the index imports, by path."""
    return {path: read(ROOT / path) for path in read(ROOT / "model-index.yml")["Import"]}


@pytest.fixture(scope="module")
def models(metafiles) -> list[dict]:
    return [model for content in metafiles.values() for model in content["Models"]]


def test_the_index_imports_one_metafile_of_each_folder(metafiles):
    assert sorted(metafiles) == sorted(f"configs/{folder}/metafile.yml" for folder in FOLDERS)


def test_every_config_is_listed_once_and_no_other(models):
    there = [
        path.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / "configs" / folder).glob("*.py")
        if not path.name.startswith("_base_")
    ]
    assert sorted(model["Config"] for model in models) == sorted(there)


def test_names_are_those_of_the_files(models):
    assert [model["Name"] for model in models] == [Path(model["Config"]).stem for model in models]
    # OpenMMLab's tools look them up in lower case.
    assert len({model["Name"].lower() for model in models}) == len(models)


def test_collections_exist_in_the_same_file_and_are_used(metafiles):
    names = []
    for content in metafiles.values():
        here = [collection["Name"] for collection in content["Collections"]]
        assert {model["In Collection"] for model in content["Models"]} == set(here)
        names += here
        for collection in content["Collections"]:
            assert collection["Paper"]["URL"].startswith("https://arxiv.org/abs/")
    assert len(set(names)) == len(names)


def test_results_are_numbers_that_fit_together(models):
    measured = [model for model in models if "Results" in model]
    assert measured
    for model in measured:
        for result in model["Results"]:
            assert result["Task"] == "Text Detection"
            metrics = result["Metrics"]
            assert all(0 < value < 1 for value in metrics.values())
            if "precision" in metrics:
                precision, recall = metrics["precision"], metrics["recall"]
                hmean = 2 * precision * recall / (precision + recall)
                assert isclose(hmean, metrics["hmean"], abs_tol=0.001), model["Name"]


def test_results_are_those_of_the_docs(models):
    # Of one row of a table, or one paragraph.
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    paragraphs = re.split(r"\n\n|\n(?=\|)", "\n\n".join(texts))
    for model in models:
        for result in model.get("Results", ()):
            values = {f"{value:.3f}" for value in result["Metrics"].values()}
            assert any(values <= set(re.findall(r"0\.\d{3}", p)) for p in paragraphs), model["Name"]


def test_training_data_is_stated(models):
    for model in models:
        data = model["Metadata"]["Training Data"]
        assert data
        assert isinstance(data, (str, list))


def test_model_index_reads_it(models):
    load = pytest.importorskip("modelindex.load_model_index").load
    index = load(str(ROOT / "model-index.yml"))
    index.build_models_with_collections()
    assert not index.check(silent=True)
    assert [model.name for model in index.models] == [model["Name"] for model in models]


def test_mmengine_finds_the_models():
    from mmengine.infer import BaseInferencer

    import mmtextplug  # noqa: F401

    folder = BaseInferencer._get_repo_or_mim_dir("mmtextplug")
    assert Path(folder) == ROOT
    names = [model["Name"] for model in BaseInferencer._get_models_from_metafile(folder)]
    assert "craft_vgg16bn_general" in names
