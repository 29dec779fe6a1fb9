"""The trainings that the comparison of samplers compares: one config for each sampler and seed."""

from __future__ import annotations

from mmengine.config import Config

CHECKS = 4
"""Validations in a training."""

_PICTURES = 100  # held out; those of the papers' pool losses
_HELD_OUT = 1_000_007  # their seed
_OTHER = 2_000_003  # added to the seed for the pictures of the start
_RANDOM = dict(num=32, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True)
_OURS = dict(num=32, iou_thr=0.7)
_WEIGHTED = dict(_OURS, type="StratifiedOHEMSampler", mode="weighted")
_STRATIFIED = dict(_OURS, type="StratifiedOHEMSampler", mode="stratified")

START = "start"
"""What all samplers of a seed begin with, in place of weights from elsewhere: random RoIs."""

# A sampler and the schedule's settings.
ARMS: dict[str, tuple[dict, dict]] = {
    "random": (dict(_RANDOM, type="RandomSampler"), {}),
    "mmdet-ohem": (dict(_RANDOM, type="OHEMSampler"), {}),
    "ohem": (dict(_OURS, type="RoIOHEMSampler"), {}),
    "s-ohem-weighted": (_WEIGHTED, {}),
    "s-ohem-stratified": (dict(_STRATIFIED, late="s13"), {}),
    # Other settings, not among the default ones.
    "s-ohem-weighted-1.9": (_WEIGHTED, dict(beta_end=1.9)),
    "s-ohem-weighted-early": (_WEIGHTED, dict(force_start=0.2)),
    "s-ohem-stratified-half": (dict(_STRATIFIED, late="s13", late_share=0.5), {}),
    "s-ohem-stratified-s23": (dict(_STRATIFIED, late="s23"), {}),
}
DEFAULT_ARMS = tuple(ARMS)[:5]


def detector(sampler: dict) -> dict:
    """Fast R-CNN with a ResNet-18 of a quarter of its width, at stride 8."""
    ours = sampler["type"] in ("RoIOHEMSampler", "StratifiedOHEMSampler")
    return dict(
        type="FastRCNN",
        data_preprocessor=dict(
            type="DetDataPreprocessor", mean=[127.5] * 3, std=[64.0] * 3, pad_size_divisor=8
        ),
        backbone=dict(
            type="ResNet",
            depth=18,
            stem_channels=16,
            base_channels=16,
            num_stages=3,
            strides=(1, 2, 1),
            dilations=(1, 1, 1),
            out_indices=(2,),
            norm_eval=False,
        ),
        roi_head=dict(
            type="MiningStandardRoIHead" if ours else "StandardRoIHead",
            bbox_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=5, sampling_ratio=2),
                out_channels=64,
                featmap_strides=[8],
            ),
            bbox_head=dict(
                type="Shared2FCBBoxHead",
                in_channels=64,
                fc_out_channels=128,
                roi_feat_size=5,
                num_classes=1,
                bbox_coder=dict(
                    type="DeltaXYWHBBoxCoder",
                    target_means=[0.0] * 4,
                    target_stds=[0.1, 0.1, 0.2, 0.2],
                ),
                loss_cls=dict(type="CrossEntropyLoss"),
                loss_bbox=dict(type="SmoothL1Loss", beta=1.0),
            ),
        ),
        train_cfg=dict(
            rcnn=dict(
                assigner=dict(
                    type="MaxIoUAssigner",
                    pos_iou_thr=0.5,
                    neg_iou_thr=0.5,
                    min_pos_iou=0.5,
                    match_low_quality=False,
                    ignore_iof_thr=-1,
                ),
                sampler=sampler,
                pos_weight=-1,
                debug=False,
            )
        ),
        test_cfg=dict(
            rcnn=dict(score_thr=0.01, nms=dict(type="nms", iou_threshold=0.4), max_per_img=50)
        ),
    )


def pictures(seed: int, count: int, **kwargs: object) -> dict:
    """A dataset of generated words, some scrambled, with proposals."""
    return dict(
        type="GeneratedTextDataset",
        num_samples=count,
        seed=seed,
        size=256,
        renderer=dict(
            words_per_image=(2, 6),
            char_height=(16, 44),
            styles=dict(straight=2, rotated=1, perspective=1),
            max_rotation=12,
            distractors=False,
        ),
        pipeline=[
            dict(type="HardNegatives", seed=seed),
            dict(type="FixedProposals", seed=seed),
            dict(
                type="PackDetInputs",
                meta_keys=(
                    "img_path",
                    "ori_shape",
                    "img_shape",
                    "scale_factor",
                    "scrambled",
                    "symbols",
                ),
            ),
        ],
        **kwargs,
    )


def training(arm: str, seed: int, iters: int, load_from: str | None = None) -> Config:
    """The config of one training, from a checkpoint or from random weights."""
    sampler, schedule = ARMS["random"] if arm == START else ARMS[arm]
    peak = 2e-3 if load_from is None else 5e-4
    warm_up, interval = max(iters // 20, 1), max(iters // 120, 1)
    hooks = []
    if sampler["type"] in ("RoIOHEMSampler", "StratifiedOHEMSampler"):
        hooks.append(dict(type="StratifiedOHEMHook", interval=interval, **schedule))
    validation = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        dataset=pictures(_HELD_OUT, _PICTURES, test_mode=True),
    )
    return Config(
        dict(
            custom_imports=dict(imports=["mmtextplug", "hard_text", "sampler_probe"]),
            default_scope="mmdet",
            randomness=dict(seed=seed),
            load_from=load_from,
            model=detector(sampler),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                # Each picture once, in the same order for all samplers.
                sampler=dict(type="InfiniteSampler", shuffle=False),
                dataset=pictures(seed + _OTHER * (arm == START), 2 * iters),
            ),
            val_dataloader=validation,
            val_evaluator=dict(type="HardTextMetric"),
            train_cfg=dict(
                type="IterBasedTrainLoop", max_iters=iters, val_interval=iters // CHECKS
            ),
            val_cfg=dict(type="ValLoop"),
            optim_wrapper=dict(
                type="OptimWrapper",
                optimizer=dict(type="AdamW", lr=peak, weight_decay=1e-2),
                clip_grad=dict(max_norm=10.0),
            ),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=warm_up),
                dict(
                    type="CosineAnnealingLR",
                    by_epoch=False,
                    begin=warm_up,
                    end=iters,
                    eta_min=peak / 50,
                ),
            ],
            # The probe comes after the schedule, whose time counts.
            custom_hooks=[*hooks, dict(type="SamplerProbe")],
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=interval, log_metric_by_epoch=False),
                checkpoint=dict(
                    type="CheckpointHook", by_epoch=False, interval=iters, save_optimizer=False
                ),
            ),
            log_processor=dict(type="LogProcessor", window_size=interval, by_epoch=False),
        )
    )
