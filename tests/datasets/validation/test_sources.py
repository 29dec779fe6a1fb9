"""What is validated: COCO's JSON, SynthText's index, the datasets of a config."""

from __future__ import annotations

import json

import numpy as np
import pytest
from mmengine.config import Config
from word_files import entry, validate, without, word, write

from mmtextplug.datasets import coco_words as coco
from mmtextplug.datasets import findings, image_faults
from mmtextplug.datasets.annotation_files import config_sources, named_source, read_batches
from mmtextplug.datasets.synthtext_index import Chunk, write_index
from mmtextplug.datasets.validation import Validation


@pytest.fixture
def coco_file(folder):
    """COCO's JSON with each fault once; image 0 is fine."""
    square = [10, 10, 50, 10, 50, 30, 10, 30]

    def annotation(number, **fields):
        row = {"id": number, "image_id": 0, "category_id": 1, "bbox": [10, 10, 40, 20]}
        return row | {"area": 800, "iscrowd": 0, "segmentation": [square]} | fields

    shifted = [v + 5 for v in square]
    annotations = [
        annotation(0),
        annotation(1, image_id=1, bbox=[10, 10, 40, 0.5]),
        annotation(2, image_id=1, area=0),
        annotation(3, image_id=1, category_id=7),
        annotation(4, image_id=1, ignore=1),
        without(annotation(5, image_id=1), "area"),
        annotation(6, image_id=1, segmentation=[shifted, square], bbox=[15, 15, 40, 20]),
        annotation(7, image_id=1, segmentation={"counts": [1], "size": [60, 100]}),
        annotation(8, image_id=9),
        annotation(8, image_id=1),
        annotation(10, image_id=1, bbox=[1, 2, 3]),
        # Reversed, which is no fault here, and to be ignored.
        annotation(11, image_id=2, segmentation=[[10, 10, 10, 30, 50, 30, 50, 10]]),
        annotation(12, image_id=2, iscrowd=1, segmentation=None, bbox=[70, 30, 20, 20]),
        without(annotation(13), "image_id"),
    ]
    images = [{"id": i, "file_name": f"{i}.png", "height": 60, "width": 100} for i in range(3)]
    images += [{"id": 2, "file_name": "3.png", "height": 60, "width": 100}]
    images += [{"id": 5, "height": 60, "width": 100}]
    path = folder / "coco.json"
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    path.write_text(json.dumps(content))
    return path


def test_coco(coco_file):
    found, summary = validate(coco_file)
    nobody = "polygon and bbox are no lists of numbers"
    assert [(where, kind) for kind, where in found] == [
        ("images[3]", coco.ID_TWICE),
        ("annotations[8]", coco.UNKNOWN_IMAGE),
        ("annotations[9]", coco.ID_TWICE),
        ("annotations[13]", coco.NO_FIELD),
        ("annotations[1]", coco.NO_AREA),
        ("annotations[2]", coco.NO_AREA),
        ("annotations[3]", coco.UNKNOWN_CATEGORY),
        ("annotations[4]", coco.MARKED_IGNORE),
        ("annotations[5]", coco.NO_FIELD),
        ("annotations[6]", coco.SEVERAL_PARTS),
        ("annotations[7]", coco.RUN_LENGTHS),
        ("annotations[10]", nobody),
        ("images[3]", findings.NO_WORDS),
        ("images[4]", "entry without 'img_path'"),
    ]
    assert summary.counts["images"] == 5


def index_of(folder, out="index"):
    """SynthText's index of two images, the second of 101 x 60 pixels."""
    quads = np.array(word()["chars"] * 2, np.float32).reshape(-1, 4, 2)
    chunk = Chunk(
        names=["0.png", "1.png"],
        sizes=np.array([[60, 100], [60, 101]]),
        word_counts=np.array([1, 1]),
        texts=["word", "word"],
        words=np.array([word()["polygon"]] * 2, np.float32).reshape(-1, 4, 2),
        char_counts=np.array([4, 4]),
        chars=quads,
    )
    write_index(folder / out, [chunk])
    return folder / out


def test_an_index_remembers_where_its_images_are(folder):
    path = index_of(folder)
    content = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps(content | {"images": "../deep/imgs"}))
    images = str(folder / "deep" / "imgs")
    assert named_source(path, None).images == images
    assert named_source(path, folder).images == str(folder)
    dataset = dict(type="SynthTextDataset", data_root=str(folder), index="index")
    config = Config(dict(train_dataloader=dict(dataset=dict(dataset))))
    assert [source.images for source in config_sources(config)[0]] == [images]
    dataset["data_prefix"] = dict(img_path="photos")
    config = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert [source.images for source in config_sources(config)[0]] == [str(folder / "photos")]


def test_index_of_synthtext(folder):
    path = index_of(folder)
    for name in (path, path / "index.json"):
        found, summary = validate(name)
        assert found == [(image_faults.SIZE, "image 1")]
        assert summary.counts == {"images": 2, "words": 2, "ignored": 0, "characters": 8}
    lengths = path / "lengths.npy"
    data = bytearray(lengths.read_bytes())
    data[-8] = 3  # bytes of the last text
    lengths.write_bytes(bytes(data))
    found, _ = validate(path)
    assert found == [(findings.INDEX_BROKEN, "image 1")]
    lengths.write_bytes(bytes(data[:-4]))
    found, _ = validate(path)
    assert found == [(findings.FILE_BROKEN, "index")]


def config(folder, **loaders):
    cfg = Config({f"{name}_dataloader": {"dataset": data} for name, data in loaders.items()})
    path = folder / "any.py"
    cfg.dump(path)
    return Config.fromfile(path)


def dataset(folder, name, kind="CharTextDataset", **fields):
    return dict(type=kind, data_root=str(folder), ann_file=name, **fields)


def test_nested_datasets_of_a_config(folder):
    write(folder, [entry("0.png"), entry("1.png")], "a.json")
    write(folder, [entry("2.png")], "b.json")
    write(folder, [entry("1.png"), entry("3.png")], "c.json")
    index_of(folder)
    loader = dict(type="LoadImageFromFile")
    reader = dict(type="LoadOCRAnnotations", with_polygon=True, with_label=True)
    repeated = dict(type="RepeatDataset", times=2, dataset=dataset(folder, "b.json", "OCRDataset"))
    nested = dict(
        type="SeededDataset",
        dataset=dict(
            type="ConcatDataset",
            pipeline=[loader, reader],
            datasets=[
                dataset(folder, "a.json"),
                repeated,
                dict(type="GeneratedTextDataset", num_samples=3),
                dict(type="SynthTextDataset", data_root=str(folder), index="index"),
            ],
        ),
    )
    held_out = dataset(folder, "c.json", data_prefix=dict(img_path="."))
    cfg = config(folder, train=nested, val=held_out, test=held_out)
    sources, skipped = config_sources(cfg)
    inner = "train_dataloader.dataset.dataset.datasets"
    assert [source.where for source in sources] == [
        (f"{inner}[0]",),
        (f"{inner}[1].dataset",),
        (f"{inner}[3]",),
        ("val_dataloader.dataset", "test_dataloader.dataset"),
    ]
    assert [source.path.name for source in sources] == ["a.json", "b.json", "index", "c.json"]
    assert [source.upright for source in sources] == [True, True, True, False]
    assert [source.strict for source in sources] == [False, True, False, False]
    assert sources[1].needed == ("polygon", "bbox_label", "ignore")
    assert sources[3].needed == ()
    assert skipped == [(f"{inner}[2]", "no annotation file: generated")]
    found = []
    validation = Validation(log=lambda source, finding: found.append((source.path.name, finding)))
    for source in sources:
        validation.run(source)
    shared = [
        (name, finding.where, finding.detail)
        for name, finding in found
        if finding.kind == findings.SHARED
    ]
    assert shared == [("c.json", "data_list[0]", "train and val and test")]
    assert [(name, f.kind) for name, f in found if f.kind != findings.SHARED] == [
        ("index", image_faults.SIZE)
    ]


def test_what_a_config_lacks(folder):
    write(folder, [entry()], "a.json")
    cfg = config(folder, train=dataset(folder, "a.json"), val=dataset(folder, "b.json"))
    with pytest.raises(FileNotFoundError, match=r"any\.py: .*val_\w+\.dataset\.ann_file.*b\.json"):
        config_sources(cfg)
    with pytest.raises(ValueError, match="no dataset in train_dataloader"):
        config_sources(config(folder))
    voc = dataset(folder, "list.txt", "VOCDataset")
    remote = dict(type="OCRDataset", data_root="s3://bucket", ann_file="a.json")
    sources, skipped = config_sources(config(folder, train=voc, val=remote))
    assert not sources
    assert [reason for _, reason in skipped] == [
        f"{folder}/list.txt is no JSON: a VOCDataset",
        "s3://bucket/a.json is not on this machine",
    ]


@pytest.mark.parametrize(
    ("indices", "numbers"),
    [(None, [0, 1, 2, 3]), (2, [0, 1]), (0, []), (-1, [3]), ([3, 1], [1, 3]), ([-4, 2], [0, 2])],
)
def test_indices_of_a_config(folder, indices, numbers):
    write(folder, [entry(f"{i}.png") for i in range(4)], "a.json")
    cfg = config(folder, train=dataset(folder, "a.json", indices=indices))
    (source,), _ = config_sources(cfg)
    batches = list(read_batches(source))
    assert [number for batch in batches for number, _ in batch.images] == numbers


def test_train_and_val_of_one_file_in_parts_share_nothing(folder):
    write(folder, [entry(f"{i}.png") for i in range(4)], "a.json")
    for first, second, expected in ((2, [2, 3], 0), (3, [2, 3], 1), (None, None, 4)):
        parts = [dataset(folder, "a.json", indices=part) for part in (first, second)]
        sources, _ = config_sources(config(folder, train=parts[0], val=parts[1]))
        validation = Validation()
        shared = [validation.run(source).kinds[findings.SHARED] for source in sources]
        assert sum(shared) == expected


def test_inputs_that_are_not_there(folder):
    with pytest.raises(FileNotFoundError, match="no such file"):
        named_source(folder / "absent.json", None)
    with pytest.raises(ValueError, match="a folder without index"):
        named_source(folder, None)
    path = write(folder, [entry()])
    with pytest.raises(FileNotFoundError, match=r"--images .*absent"):
        named_source(path, folder / "absent")
