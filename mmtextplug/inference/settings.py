"""What a detector is built from: the official CRAFT as a config, and settings put into a config."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from mmtextplug import launch

_CRAFT = "CRAFTPostprocessor"
_WITH_SCORE_MAPS = (_CRAFT, "DifferentiableBinarizationPostprocessor")

OFFICIAL = dict(
    default_scope="mmocr",
    model=dict(
        type="CRAFT",
        data_preprocessor=dict(
            type="TextDetDataPreprocessor",
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=dict(type="CRAFTVGG16BN"),
        neck=dict(type="CRAFTDecoder", in_channels=[128, 256, 512, 512, 1024]),
        det_head=dict(
            type="CRAFTHead",
            in_channels=32,
            module_loss=dict(type="CRAFTModuleLoss"),
            postprocessor=dict(
                type="CRAFTPostprocessor",
                text_threshold=0.7,
                link_threshold=0.4,
                low_text=0.4,
                char_shift=0.1,
            ),
        ),
    ),
    test_pipeline=[
        dict(type="ResizeLongSide", long_side=1280, magnification=1.5),
        dict(type="PackCharInputs"),
    ],
)
"""The official CRAFT as a config: what ``craft_vgg16bn_general.py`` says, for installations that
have no config files."""


def photo_pipeline(config: Config) -> list[ConfigDict]:
    """Copies of a config's test transforms that come after the loading of image and annotation.

    They are looked for where ``tools/test.py`` runs them, in ``test_dataloader``; a config without
    one has them in ``test_pipeline``.

    Raises:
        ValueError: If there are none.
    """
    dataset = config.get("test_dataloader", {}).get("dataset", config)
    while dataset.get("pipeline") is None and ("dataset" in dataset or "datasets" in dataset):
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    steps = dataset.get("pipeline") or config.get("test_pipeline")
    if not steps:
        raise ValueError(
            f"{config.filename or 'config'}: neither test_dataloader.dataset.pipeline nor "
            "test_pipeline: how to prepare an image is not known"
        )
    steps = [ConfigDict(step) for step in steps]
    for step in steps:
        if "meta_keys" in step:  # some keep the annotation, which photos have not
            step.meta_keys = tuple(key for key in step.meta_keys if key != "instances")
    return [step for step in steps if not step["type"].rpartition(".")[2].startswith("Load")]


def _override(parts: list[dict], values: dict, needed: str) -> None:
    """Put values that are not None into the parts of a type."""
    values = {key: value for key, value in values.items() if value is not None}
    parts = [part for part in parts if str(part.get("type")).rpartition(".")[2] == needed]
    if values and not parts:
        raise ValueError(
            f"{', '.join(values)}: this config has no {needed} to set it in; leave it out"
        )
    for part in parts:
        part.update(values)


def configure(
    config: Config,
    *,
    refine: bool = False,
    polygons: bool | None = None,
    score_maps: bool | None = None,
    chars: bool = False,
    long_side: int | None = None,
    magnification: float | None = None,
    text_threshold: float | None = None,
    link_threshold: float | None = None,
    low_text: float | None = None,
    isolated_threshold: float | None = None,
) -> tuple[ConfigDict, list[ConfigDict]]:
    """Put settings into copies of a config's model and of its test transforms.

    Args:
        config (Config): See `TextDetector.from_config`, as for the others.
        refine (bool): Whether a link refiner's own weights will be loaded.
        polygons, score_maps, chars, long_side, magnification, text_threshold, link_threshold,
        low_text, isolated_threshold: See `TextDetector.from_config`.

    Returns:
        tuple[ConfigDict, list[ConfigDict]]: The model, and the transforms after loading.

    Raises:
        ValueError: If the config has nothing that a setting could be put into.
    """
    launch.demand(config, "model", use="a detector")
    model = ConfigDict(config.model.to_dict())
    post = model.get("det_head", {}).get("postprocessor", {})
    if refine:
        head = model.get("det_head", {})
        if head.get("type") != "CRAFTHead":
            raise ValueError("refiner: this config has no CRAFTHead to put it in; leave it out")
        if head.get("link_refiner") is None:
            head.link_refiner = dict(type="LinkRefiner", in_channels=head.get("in_channels", 32))
        polygons = True if polygons is None else polygons
    if polygons is not None:
        if "type" not in post:
            raise ValueError("polygons: this config has no det_head.postprocessor to ask")
        post.text_repr_type = "poly" if polygons else "quad"
    thresholds = dict(
        text_threshold=text_threshold,
        link_threshold=link_threshold,
        low_text=low_text,
        isolated_threshold=isolated_threshold,
    )
    _override([post], thresholds, _CRAFT)
    if chars and post.get("type") != _CRAFT:
        raise ValueError(
            "chars: characters are found by a region score, and this config has no "
            "CRAFTPostprocessor; leave it out"
        )
    if chars:
        post.find_chars = True
    if post.get("type") in _WITH_SCORE_MAPS:
        post.keep_score_maps = post.type == _CRAFT if score_maps is None else score_maps
    pipeline = photo_pipeline(config)
    # MMOCR's and MMDetection's, too, can be told how long the longer side is to be.
    resize = [step for step in pipeline if step["type"].rpartition(".")[2] == "Resize"]
    if long_side is not None and resize:
        for step in resize:
            step.update(scale=(long_side, long_side), keep_ratio=True)
        long_side = None
    sizes = {"long_side": long_side, "magnification": magnification}
    _override(pipeline, sizes, "ResizeLongSide")
    return model, pipeline
