# The weak stage of `make demo`: the light CRAFT of craft_resnet18_demo.py goes on with text that it
# has not been trained for, small and dense, of which it is given word boxes only.
_base_ = ["craft_resnet18_demo.py"]

load_from = "work_dirs/craft_resnet18_demo/iter_780.pth"
max_iters = 200

small_text = dict(
    words_per_image=(8, 24), char_height=(6, 10), line_prob=0.6, styles=dict(straight=1, rotated=1)
)
words_only = dict(
    type="GeneratedTextDataset",
    num_samples=800,
    seed=7,
    size=192,
    renderer=small_text,
    pipeline=[
        dict(type="LoadCharAnnotations", with_chars=False),
        dict(type="RandomTextWarp", size=192, scale=(1.0, 1.3), rotation=5, perspective=0.02),
        dict(type="PackCharInputs"),
    ],
)
held_out = dict(
    _delete_=True,
    type="GeneratedTextDataset",
    num_samples=100,
    seed=1_000_007,
    size=192,
    renderer=small_text,
    test_mode=True,
    pipeline=[
        # For MMOCR's inferencers, which put their own loading in its place.
        dict(type="LoadImageFromNDArray"),
        dict(type="ResizeLongSide", long_side=1280, magnification=1.0),
        dict(type="LoadCharAnnotations"),
        dict(type="PackCharInputs"),
    ],
)

# In every batch two pictures whose characters are known keep the labels from drifting.
train_dataloader = dict(
    sampler=dict(ratio=(1, 3)),
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type="ConcatDataset",
            datasets=[{{_base_.train_dataloader.dataset.dataset}}, words_only],
            verify_meta=False,
        )
    ),
)
val_dataloader = dict(dataset=held_out)
test_dataloader = val_dataloader

custom_hooks = [
    # The peaks of so light a network are low, and so is what counts as one.
    dict(type="PseudoCharLabelHook", momentum=0.01, foreground=0.45)
]

optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
