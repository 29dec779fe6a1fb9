# The light detector, weak stage: from the strong stage (craft_efficientnet-lite0_generated-text.py)
# on with photos of which it is given word boxes and texts only, ICDAR 2015's 1 to 900. With every
# two of them goes a generated picture.
_base_ = ["craft_efficientnet-lite0_generated-text.py"]

load_from = "work_dirs/craft_efficientnet-lite0_generated-text/iter_1500.pth"
max_iters = 5000

words_only = dict(
    _base_.icdar2015_textdet_train900,
    pipeline=[
        dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
        dict(type="LoadCharAnnotations", with_chars=False),
        # From 0.6 to 2 times the photo's own size.
        dict(
            type="RandomTextWarp",
            size=_base_.input_size,
            scale=(1.35, 4.5),
            rotation=15,
            perspective=0.03,
            text_ratio=0.8,
        ),
        _base_.colour,
        dict(type="PackCharInputs"),
    ],
)
train_dataloader = dict(
    sampler=dict(shuffle=True, ratio=(1, 2)),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type="ConcatDataset",
            datasets=[dict(_base_.generated, seed=1), words_only],
            verify_meta=False,
        )
    ),
)
model = dict(
    backbone=dict(pretrained=False),  # all weights come from load_from
    det_head=dict(
        # By sweep_thresholds.py on photos 801 to 900, which it has been trained on, at 1600 px.
        postprocessor=dict(text_threshold=0.8, link_threshold=0.5, low_text=0.55)
    ),
)

custom_hooks = [
    # Its teacher's scores stay lower than those of the official weights.
    dict(type="PseudoCharLabelHook", teacher="ema", momentum=0.005, foreground=0.6)
]

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=50, end=max_iters, eta_min_ratio=0.01),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=500))
