"""MMOCR's inferencers on our configs and checkpoints: its own classes, and ours.

The score maps of a painted page are its colours: which words must be found is known.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import painted as painting
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import LabelData
from mmocr import apis
from mmocr.structures import TextRecogDataSample
from PIL import Image
from torch import nn

from mmtextplug import inferencer
from mmtextplug.craft import weights
from mmtextplug.inference import TextDetector, photo_pipeline
from mmtextplug.inference.saved_config import config_of, read_config
from mmtextplug.safe_runner import SafeRunner

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT / "configs").as_posix()
    for folder in ("craft", "dbnet")
    for path in (ROOT / "configs" / folder).glob("[!_]*.py")
)
NO_IMAGES = [(4,), (4, 4, 2), (4, 4, 4), (4, 4, 3, 1)]
OURS_AND_MMOCRS = [inferencer.TextDetInferencer, apis.TextDetInferencer]
needs_official_weights = pytest.mark.skipif(
    importlib.util.find_spec(weights.PACKAGE) is None, reason="extra 'weights' not installed"
)

PAINTED = f"""
default_scope = "mmocr"
model = {painting.MODEL!r}
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="ResizeLongSide", long_side=640, magnification=1.0),
    dict(type="LoadCharAnnotations"),
    dict(type="PackCharInputs"),
]
test_dataloader = dict(dataset=dict(type="CharTextDataset", pipeline=test_pipeline))
visualizer = dict(type="ScoreMapVisualizer", vis_backends=[dict(type="LocalVisBackend")])
"""


def page(height: int = 64, width: int = 160, words: int = 2) -> np.ndarray:
    """Words of two characters, the first at (24, 20), the others 60 to the right."""
    return painting.page((height, width), [(24 + 60 * word, 20, 2) for word in range(words)])


def centres(prediction: dict) -> np.ndarray:
    polygons = prediction.get("polygons", prediction.get("det_polygons"))
    found = np.array([np.reshape(polygon, (-1, 2)).mean(0) for polygon in polygons])
    return found[np.argsort(found[:, 0])] if len(found) else found.reshape(0, 2)


@pytest.fixture
def painted(tmp_path: Path, checkpoint: Path) -> tuple[str, str]:
    """Config and checkpoint; the model is blind without the checkpoint."""
    config = tmp_path / "painted.py"
    config.write_text(PAINTED)
    return str(config), str(checkpoint)


def make(kind: type, *arguments: object, **options: object) -> apis.TextDetInferencer:
    """On the CPU; ours in float32."""
    if kind.__module__ == inferencer.__name__:
        options.setdefault("precision", "float32")
    return kind(*arguments, device="cpu", **options)


# --- MMOCR's classes, and ours ------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
def test_mmocr_prepares_photos_by_all_configs(tmp_path, name):
    cfg = Config.fromfile(ROOT / "configs" / name)
    mmocrs = apis.TextDetInferencer.__new__(apis.TextDetInferencer)
    with DefaultScope.overwrite_default_scope("mmocr"):
        pipeline = mmocrs._init_pipeline(cfg)
    cv2.imwrite(str(tmp_path / "x.png"), page())
    for item in (page(), str(tmp_path / "x.png")):
        packed = pipeline(item)
        assert packed["inputs"].shape[0] == 3
        assert packed["data_samples"].ori_shape == (64, 160)
        assert "instances" not in packed["data_samples"]


@pytest.mark.parametrize("name", CONFIGS)
def test_our_inferencers_prepare_photos_by_all_configs(name):
    ours = inferencer.TextDetInferencer.__new__(inferencer.TextDetInferencer)
    cfg = Config.fromfile(ROOT / "configs" / name)
    cfg.test_pipeline = photo_pipeline(cfg)
    with DefaultScope.overwrite_default_scope("mmocr"):
        packed = ours._init_pipeline(cfg)(page())
    assert packed["data_samples"].ori_shape == (64, 160)


@pytest.mark.parametrize("kind", OURS_AND_MMOCRS)
def test_words_of_arrays_paths_and_folders(kind, painted, tmp_path):
    infer = make(kind, *painted)
    pages = [page(), page(words=1), page(100, 220, 3), page(words=0)]
    (tmp_path / "in").mkdir()
    for number, image in enumerate(pages):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), image)
    paths = [str(tmp_path / "in" / f"{number}.png") for number in range(4)]
    truth = [[(32 + 60 * word, 20) for word in range(count)] for count in (2, 1, 3, 0)]
    expected = TextDetector.from_config(*painted, precision="float32").detect(pages)
    for inputs, batch_size in ((pages, 1), (paths, 3), ([pages[0], *paths[1:]], 2)):
        found = infer(inputs, batch_size=batch_size, progress_bar=False)["predictions"]
        for one, words, where in zip(found, expected, truth, strict=True):
            np.testing.assert_allclose(centres(one), np.reshape(where, (-1, 2)), atol=1.5)
            flat = [polygon.ravel() for polygon in words.polygons]
            assert len(one["polygons"]) == len(flat)
            for mine, theirs in zip(one["polygons"], flat, strict=True):
                np.testing.assert_allclose(mine, theirs, atol=1e-3)
            np.testing.assert_allclose(one["scores"], words.scores, atol=1e-4)
            assert set(one) == {"polygons", "scores"}
    folder = infer(str(tmp_path / "in"), progress_bar=False)["predictions"]
    assert sorted(len(one["scores"]) for one in folder) == [0, 1, 2, 3]
    assert len(infer(pages[0], progress_bar=False)["predictions"]) == 1


@pytest.mark.parametrize("kind", OURS_AND_MMOCRS)
def test_pictures_and_json(kind, painted, tmp_path):
    infer = make(kind, *painted)
    cv2.imwrite(str(tmp_path / "x.png"), page())
    inputs = [str(tmp_path / "x.png"), page(words=1)]
    out = tmp_path / "out"
    found = infer(
        inputs, out_dir=str(out), save_vis=True, save_pred=True, return_vis=True,
        batch_size=2, progress_bar=False,
    )  # fmt: skip
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert files == {"preds/x.json", "preds/0.json", "vis/x.jpg", "vis/0.jpg"}
    for name, prediction in zip(("x", "0"), found["predictions"], strict=True):
        assert json.loads((out / "preds" / f"{name}.json").read_text()) == prediction
    first, second = found["visualization"]
    # Two words, drawn in red on black and blue; beyond x = 80 the second page has none.
    assert first.shape == second.shape
    red = [(image[..., 0] > 150) & (image[..., 2] < 100) for image in (first, second)]
    half = first.shape[1] // 2
    assert [bool(r[:, :half].any()) for r in red] == [True, True]
    assert [bool(r[:, half:].any()) for r in red] == [True, False]


@pytest.mark.parametrize(
    "kind", [inferencer.MMOCRInferencer, apis.MMOCRInferencer], ids=["ours", "mmocrs"]
)
def test_mmocr_inferencer_detects(kind, painted, tmp_path):
    config, checkpoint = painted
    infer = make(kind, det=config, det_weights=checkpoint)
    cv2.imwrite(str(tmp_path / "x.png"), page())
    out = tmp_path / "out"
    inputs = [str(tmp_path / "x.png"), page(words=1)]
    found = infer(inputs, batch_size=2, out_dir=str(out), save_vis=True, save_pred=True)
    np.testing.assert_allclose(centres(found["predictions"][0]), [(32, 20), (92, 20)], atol=1.5)
    np.testing.assert_allclose(centres(found["predictions"][1]), [(32, 20)], atol=1.5)
    files = {path.relative_to(out).as_posix() for path in out.rglob("*.*")}
    assert files == {"preds/x.json", "preds/0.json", "vis/x.jpg", "vis/0.jpg"}
    assert json.loads((out / "preds/x.json").read_text()) == found["predictions"][0]


SMALL = {
    "craft/craft_resnet18_demo.py": """
model = dict(
    backbone=dict(base_channels=4),
    neck=dict(in_channels=[4, 8, 16], out_channels=[8, 8, 8]),
    det_head=dict(in_channels=8, postprocessor=dict(text_threshold=0.0, low_text=0.0)),
)
""",
    "craft/craft_resnet18_refiner_generated-lines.py": """
model = dict(
    backbone=dict(base_channels=4),
    neck=dict(in_channels=[4, 8, 16], out_channels=[8, 8, 8]),
    det_head=dict(
        in_channels=8,
        link_refiner=dict(in_channels=8, channels=4),
        postprocessor=dict(text_threshold=0.0, low_text=0.0),
    ),
)
""",
    "dbnet/dbnet_resnet18_fpnc_1200e_totaltext.py": """
model = dict(
    backbone=dict(base_channels=4, init_cfg=None),
    neck=dict(in_channels=[4, 8, 16, 32], lateral_channels=8, out_channels=2),
    det_head=dict(in_channels=8, postprocessor=dict(min_text_score=0.0)),
)
""",
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("kind", OURS_AND_MMOCRS, ids=["ours", "mmocrs"])
def test_networks_of_configs_give_the_words_of_a_detector(kind, name, tmp_path):
    config, checkpoint = tmp_path / "small.py", tmp_path / "small.pth"
    config.write_text(f'_base_ = ["{ROOT}/configs/{name}"]\n' + SMALL[name])
    with DefaultScope.overwrite_default_scope("mmocr"):
        network = MODELS.build(Config.fromfile(config).model)
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    torch.save({"state_dict": network.state_dict()}, checkpoint)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    expected = TextDetector.from_config(config, checkpoint, precision="float32").detect([image])[0]
    assert len(expected.polygons) > 0
    found = make(kind, str(config), str(checkpoint))(image, progress_bar=False)["predictions"][0]
    assert len(found["polygons"]) == len(expected.polygons)
    for mine, theirs in zip(found["polygons"], expected.polygons, strict=True):
        np.testing.assert_allclose(mine, theirs.ravel(), atol=0.05)
    np.testing.assert_allclose(found["scores"], expected.scores, atol=1e-4)


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """What one step of a training leaves: optimizer, log history and config included."""
    cfg = Config.fromfile(ROOT / "configs/dbnet/dbnet_resnet18_generated-text.py")
    cfg.merge_from_dict(
        {
            "model.backbone.base_channels": 4,
            "model.neck.in_channels": [4, 8, 16, 32],
            "model.neck.lateral_channels": 16,
            "model.neck.out_channels": 4,
            "model.det_head.in_channels": 16,
            "model.det_head.postprocessor.min_text_score": 0.0,
            "train_dataloader.batch_size": 1,
            "train_dataloader.num_workers": 0,
            "train_dataloader.persistent_workers": False,
            "train_dataloader.dataset.size": 64,
            "train_cfg.max_iters": 1,
            "train_cfg.val_interval": 9,
            "default_hooks.logger.interval": 1,
            # A key that is no name, as settings of optimizers are.
            "optim_wrapper.paramwise_cfg": dict(custom_keys={"backbone.conv1": dict(lr_mult=0.1)}),
            "work_dir": str(tmp_path / "work"),
            "log_level": "ERROR",
        }
    )
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    SafeRunner.from_cfg(cfg).train()
    return tmp_path / "work" / "iter_1.pth"


def test_a_checkpoint_of_a_training_is_enough(trained):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    found = [
        make(kind, weights=str(trained))(image, progress_bar=False)["predictions"][0]
        for kind in OURS_AND_MMOCRS
    ]
    assert len(found[0]["polygons"]) == len(found[1]["polygons"]) > 0
    for mine, theirs in zip(found[0]["polygons"], found[1]["polygons"], strict=True):
        assert mine == pytest.approx(theirs, abs=0.05)
    assert found[0]["scores"] == pytest.approx(found[1]["scores"], abs=1e-4)
    saved = config_of(trained)
    with DefaultScope.overwrite_default_scope("mmocr"):
        names = MODELS.build(saved.model).state_dict().keys()
    content = torch.load(trained, **({} if torch.__version__ < "2" else {"weights_only": False}))
    assert names == content["state_dict"].keys()


@needs_official_weights
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (inferencer.TextDetInferencer, ()),
        (apis.TextDetInferencer, (ROOT / "configs/craft/craft_vgg16bn_general.py", "official")),
    ],
    ids=["ours", "mmocrs"],
)
def test_the_official_craft(kind, arguments):
    image = np.full((90, 260, 3), 230, np.uint8)
    cv2.putText(image, "HOUSE", (40, 60), cv2.FONT_HERSHEY_DUPLEX, 1.5, (40, 30, 20), 3)
    arguments = [weights.official_weights() if a == "official" else a for a in arguments]
    (found,) = make(kind, *map(str, arguments))(image, progress_bar=False)["predictions"]
    rows, columns = np.nonzero(image[..., 0] < 150)
    assert len(found["polygons"]) == 1
    corners = np.reshape(found["polygons"][0], (4, 2))
    np.testing.assert_allclose(corners.min(0), [columns.min(), rows.min()], atol=8)
    np.testing.assert_allclose(corners.max(0), [columns.max(), rows.max()], atol=8)


# --- ours ---------------------------------------------------------------------------------------


def test_characters_and_settings(painted, tmp_path):
    infer = make(inferencer.TextDetInferencer, *painted, chars=True)
    found = infer(page(words=1), progress_bar=False)["predictions"][0]
    (quads,) = found["chars"]
    middles = np.reshape(quads, (2, 4, 2)).mean(1)
    np.testing.assert_allclose(middles, [(24, 20), (40, 20)], atol=2)
    config, checkpoint = painted
    both = make(inferencer.MMOCRInferencer, det=config, det_weights=checkpoint, chars=True)
    out = tmp_path / "out"
    one, none = both([page(words=1), page(words=0)], out_dir=str(out), save_pred=True)[
        "predictions"
    ]
    assert one["det_chars"] == found["chars"]
    assert none == dict(det_polygons=[], det_scores=[], det_chars=[])
    assert json.loads((out / "preds" / "0.json").read_text()) == one
    blind = make(inferencer.TextDetInferencer, *painted, text_threshold=1.0, low_text=0.99)
    assert blind(page(), progress_bar=False)["predictions"][0]["polygons"] == []


def test_precision_and_compile_reach_the_network(painted, monkeypatch):
    calls = []
    monkeypatch.setattr(inferencer, "accelerate", lambda model, **kw: calls.append(kw) or model)
    inferencer.TextDetInferencer(*painted, device="cpu")
    config, checkpoint = painted
    inferencer.MMOCRInferencer(config, checkpoint, device="cpu", precision="bfloat16", compile=True)
    assert calls == [
        dict(precision="auto", compile=False),
        dict(precision="bfloat16", compile=True),
    ]


def test_photos_are_read_upright_and_in_all_depths(painted, tmp_path):
    infer = make(inferencer.TextDetInferencer, *painted)
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.ascontiguousarray(np.rot90(page(words=1))[..., ::-1])
    Image.fromarray(lying).save(tmp_path / "lying.png", exif=exif)
    found = infer(tmp_path / "lying.png", return_vis=True, progress_bar=False)
    np.testing.assert_allclose(centres(found["predictions"][0]), [(32, 20)], atol=1.5)
    picture = found["visualization"][0]
    assert picture.shape[1] > 2 * picture.shape[0]  # upright it is wide
    red = (picture[..., 0] > 150) & (picture[..., 2] < 100)
    assert red[: picture.shape[0] * 5 // 8, : picture.shape[1] // 2].any()
    # Grey: region and affinity are the same; a bright square is one word.
    grey = np.zeros((64, 96), np.uint8)
    grey[20:40, 30:50] = 255
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    colour = grey[..., None].repeat(3, axis=2)
    for item in (grey, grey[..., None], str(tmp_path / "deep.png"), colour):
        prediction = infer(item, progress_bar=False)["predictions"][0]
        np.testing.assert_allclose(centres(prediction), [(39.5, 29.5)], atol=2.5)


class Recogniser:
    """Keeps the words that it gets."""

    def __init__(self, *arguments: object) -> None:
        self.seen: list[np.ndarray] = []
        self.visualizer = SimpleNamespace(font_families=["monospace"], font_properties=None)

    def __call__(self, words: list, **options: object) -> dict:
        self.seen += words
        text = LabelData(item="ab", score=[1.0, 1.0])
        return {"predictions": [TextRecogDataSample(pred_text=text) for _ in words]}

    def pred2dict(self, sample: TextRecogDataSample) -> dict:
        return {"text": sample.pred_text.item, "scores": 1.0}


def test_words_are_read_from_the_photo_that_the_detector_saw(painted, tmp_path, monkeypatch):
    monkeypatch.setattr(apis, "TextRecInferencer", Recogniser)
    config, checkpoint = painted
    infer = make(inferencer.MMOCRInferencer, det=config, det_weights=checkpoint, rec="r")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = page(words=1)
    upright[:, 100:, 2] = 90  # red, of which no score is made
    lying = Image.fromarray(np.ascontiguousarray(np.rot90(upright)[..., ::-1]))
    lying.save(tmp_path / "lying.webp", lossless=True, exif=exif)
    # White that is transparent shows grey; it is no word, and words are not read from white.
    clear = Image.fromarray(np.ascontiguousarray(upright[..., ::-1])).convert("RGBA")
    clear.paste((255, 255, 255, 0), (0, 52, 160, 64))
    clear.save(tmp_path / "clear.png")
    seen = upright.copy()
    seen[52:] = 128
    grey = np.zeros((64, 96), np.uint8)
    grey[20:40, 30:50] = 255
    for item, same in (
        (tmp_path / "lying.webp", upright),
        (tmp_path / "clear.png", seen),
        (grey, grey[..., None].repeat(3, axis=2)),
    ):
        infer.textrec_inferencer.seen.clear()
        results = [infer(i, return_vis=True, batch_size=1, out_dir="") for i in (item, same)]
        words = infer.textrec_inferencer.seen
        assert len(words) == 2 * len(results[0]["predictions"][0]["rec_texts"]) > 0
        assert words[0].max() > 200  # the word is on it
        for mine, theirs in zip(words, words[len(words) // 2 :]):
            np.testing.assert_array_equal(mine, theirs)
        pictures = [result["visualization"][0] for result in results]
        np.testing.assert_array_equal(*pictures)


def test_of_a_folder_photos_are_taken_in_order(painted, tmp_path):
    infer = make(inferencer.TextDetInferencer, *painted)
    folder = tmp_path / "in"
    folder.mkdir()
    with pytest.raises(ValueError, match="in: no photos in this folder"):
        infer(folder)
    for name, words in (("b.png", 1), ("a.png", 2)):
        cv2.imwrite(str(folder / name), page(words=words))
    (folder / "notes.txt").write_text("no photo")
    for inputs in (folder, str(folder)):
        found = infer(inputs, progress_bar=False)["predictions"]
        assert [len(one["scores"]) for one in found] == [2, 1]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (7, "a photo's path or a uint8 array, got int"),
        (np.zeros((4, 4, 3)), "a uint8 array that is not empty"),
        (np.zeros((0, 4, 3), np.uint8), "a uint8 array that is not empty"),
        *((np.zeros(shape, np.uint8), "BGR or .* grey, got") for shape in NO_IMAGES),
    ],
)
def test_what_is_no_photo_is_refused(painted, item, message, tmp_path):
    infer = make(inferencer.TextDetInferencer, *painted)
    with pytest.raises(ValueError, match=message):
        infer(item, progress_bar=False)
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"bad\.png: not an image"):
        infer(str(tmp_path / "bad.png"), progress_bar=False)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return open, (str(self.mark), "w")


def test_no_checkpoint_runs_code(painted, tmp_path):
    config, _ = painted
    mark, hostile = tmp_path / "mark", tmp_path / "hostile.pth"
    state = {"backbone.gain": torch.ones(1)}
    torch.save({"state_dict": state, "bomb": Bomb(mark)}, hostile)
    refused = pytest.raises(ValueError, match=r"hostile\.pth: refused: it holds more than tensors")
    with refused:
        make(inferencer.TextDetInferencer, config, str(hostile))
    with refused:
        make(inferencer.TextDetInferencer, weights=str(hostile))
    with refused:
        make(inferencer.MMOCRInferencer, det=config, det_weights=str(hostile))
    with refused:
        make(inferencer.MMOCRInferencer, det=config, rec="sar.py", rec_weights=str(hostile))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import os; os.mkdir('{mark}')", "line 1 is more than an assignment"),
        ("x = open('{mark}', 'w')", "line 1: open.* is no literal"),
        ("x = [y for y in open('{mark}', 'w')]", "is no literal"),
        ("x = dict(**open('{mark}', 'w'))", r"dict\(\) of something that is no literal"),
        ("model = dict(type='subprocess.Popen', args=['touch', '{mark}'])"
         "; test_pipeline = [dict(type='PackCharInputs')]", "'subprocess.Popen' is not registered"),
        ("model = dict(neck=[dict(type='mmengine.dump', file='{mark}')])"
         "; test_pipeline = [dict(type='PackCharInputs')]", "'mmengine.dump' is not registered"),
        ("model = dict(type='mmocr.os.mkdir')"
         "; test_pipeline = [dict(type='PackCharInputs')]", "'mmocr.os.mkdir' is not registered"),
        ("model = dict(type='CRAFT')", "neither test_dataloader.* nor test_pipeline"),
        ("a = (", "not a config"),
        ("a = 1", "no model in it"),
    ],
)  # fmt: skip
def test_no_config_in_a_checkpoint_runs_code(tmp_path, line, message):
    mark, path = tmp_path / "mark", tmp_path / "c.pth"
    torch.save({"state_dict": {}, "meta": {"cfg": line.format(mark=mark)}}, path)
    with pytest.raises(ValueError, match=rf"c\.pth: .*{message}.*[Nn]ame"):
        inferencer.TextDetInferencer(weights=str(path), device="cpu")
    assert not mark.exists()


@pytest.mark.parametrize(
    "line",
    [
        "model = dict(type='{0}')",
        "model = dict(type='{0}.run')",
        "model = dict(type='CRAFT', _scope_='{0}')",
        "model = dict(type='CRAFT', backbone=dict(type='CRAFTVGG16BN', _scope_='{0}'))",
        "model = dict(type='CRAFT'); default_scope = '{0}'",
        "model = dict(type='CRAFT'); test_pipeline = [dict(type='{0}')]",
        "model = dict(type='CRAFT', test_cfg=dict(nms=dict(type='exec(chr(105))')))",
    ],
)
def test_no_config_in_a_checkpoint_imports_what_it_names(tmp_path, monkeypatch, line):
    package = tmp_path / "hostile_config_package"
    package.mkdir()
    for name in ("__init__", "registry"):
        (package / f"{name}.py").write_text("def run(**kwargs): pass")
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "test_pipeline = [dict(type='PackCharInputs')]; " + line.format(package.name)
    text = text.replace("; ", "\n")
    torch.save({"state_dict": {}, "meta": {"cfg": text}}, tmp_path / "c.pth")
    refused = r"c\.pth: its config is refused: .* is (not registered|no scope .*)\. Name one"
    with pytest.raises(ValueError, match=refused):
        inferencer.TextDetInferencer(weights=str(tmp_path / "c.pth"), device="cpu")
    assert not any(module.startswith(package.name) for module in sys.modules)


def test_no_teacher_in_a_config_is_loaded(tmp_path):
    """A class of MMDetection's that unpickles the file that it is told."""
    mark = tmp_path / "mark"
    torch.save({"state_dict": {}, "bomb": Bomb(mark)}, tmp_path / "bomb.pth")
    text = f"""
default_scope = "mmocr"
model = dict(
    _scope_="mmdet", type="KnowledgeDistillationSingleStageDetector", neck=None,
    backbone=dict(type="ResNet", depth=18), bbox_head=dict(type="RetinaHead", num_classes=1,
    in_channels=512), teacher_config=dict(model=dict(type="ResNet", depth=18)),
    teacher_ckpt={str(tmp_path / "bomb.pth")!r},
)
test_pipeline = [dict(type="PackTextDetInputs")]
"""
    torch.save({"state_dict": {"a": torch.ones(1)}, "meta": {"cfg": text}}, tmp_path / "c.pth")
    for make_one in (
        lambda: inferencer.TextDetInferencer(weights=str(tmp_path / "c.pth"), device="cpu"),
        lambda: TextDetector.from_config(checkpoint=tmp_path / "c.pth"),
    ):
        with pytest.raises(ValueError, match=r"model\.type: 'Knowledge.* is no part of a text"):
            make_one()
    assert not mark.exists()


def test_read_config_is_what_mmengine_writes():
    settings = dict(
        a=1, b=-2.5, c="x'y", d=None, e=[1, (2, 3)], f={"a.b": dict(lr=0.1)}, g=dict(h={}), i={1: 2}
    )
    assert read_config(Config(settings).pretty_text) == settings
    assert read_config("a = dict({'x': 1}, y={2})") == {"a": {"x": 1, "y": {2}}}
    assert read_config("") == {}


def test_registered_types_of_other_scopes_are_taken(tmp_path):
    text = "model = dict(type='mmocr.DBNet', backbone=dict(type='mmdet.ResNet'))\n"
    text += "test_pipeline = [dict(type='mmocr.PackTextDetInputs')]"
    torch.save({"message_hub": {"runtime_info": {"cfg": text}}}, tmp_path / "c.pth")
    assert config_of(tmp_path / "c.pth").model.backbone.type == "mmdet.ResNet"


def test_a_checkpoint_of_another_model_is_refused(painted, tmp_path):
    config, _ = painted
    other = tmp_path / "other.pth"
    torch.save({"state_dict": {"backbone.gian": torch.ones(1)}}, other)
    with pytest.raises(ValueError, match=r"other\.pth: does not fit this model: 1 param.*missing"):
        make(inferencer.TextDetInferencer, config, str(other))
    with pytest.raises(FileNotFoundError, match=r"none\.pth: no such checkpoint"):
        make(inferencer.TextDetInferencer, config, str(tmp_path / "none.pth"))


def test_without_weights_only_the_official_model_is_built(painted, monkeypatch, tmp_path):
    path = tmp_path / "craft.pth"
    torch.save({"module.conv_cls.0.weight": torch.zeros(1)}, path)
    monkeypatch.setattr(inferencer, "official_weights", lambda: path)
    with pytest.raises(ValueError, match=r"does not fit .* these are the official ones"):
        make(inferencer.TextDetInferencer, painted[0])


@pytest.mark.parametrize(
    ("model", "settings", "error", "message"),
    [
        (Path("none.py"), {}, FileNotFoundError, r"none\.py: no such config"),
        ("none.py", {}, FileNotFoundError, r"none\.py: no such config"),
        (dict(a=1), {}, ValueError, "the config: a detector needs model"),
        (dict(model=painting.MODEL), {}, ValueError, "neither test_dataloader.* nor test_pipeline"),
        (None, dict(device="cuda:99"), ValueError, "device cuda:99: not usable here"),
        (None, dict(device="nonsense"), ValueError, "device nonsense: not usable here"),
        ("painted", dict(precision="float17"), ValueError, "precision must be one of auto, "),
        (None, dict(nonsense=3), TypeError, "unexpected keyword argument 'nonsense'"),
    ],
)
def test_mistakes_are_named_when_it_is_built(painted, model, settings, error, message):
    config, weights = painted
    model = config if model == "painted" else model
    with pytest.raises(error, match=message):
        inferencer.TextDetInferencer(model, weights, **{"device": "cpu", **settings})


def test_an_extractor_needs_a_detector_and_a_recogniser():
    with pytest.raises(ValueError, match="kie: needs det and rec, too"):
        inferencer.MMOCRInferencer(kie="sdmgr")
    with pytest.raises(ValueError, match="kie: needs det and rec, too"):
        inferencer.MMOCRInferencer(rec="sar", kie="sdmgr")
