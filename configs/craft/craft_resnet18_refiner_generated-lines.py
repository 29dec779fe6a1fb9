# The link refiner on generated lines of text: the light CRAFT of craft_resnet18_demo.py stays as it
# is, its refiner learns to join the words of a line and to keep columns apart. Five minutes on two
# CPU cores, after `make demo`.
_base_ = ["craft_resnet18_demo.py"]

load_from = "work_dirs/craft_resnet18_demo/iter_780.pth"
max_iters = 300

model = dict(
    frozen=True,
    det_head=dict(
        link_refiner=dict(type="LinkRefiner", in_channels=16, channels=16),
        module_loss=dict(_delete_=True, type="LinkRefinerModuleLoss"),
    ),
)

lines = dict(
    unit="line",
    words_per_image=(2, 8),
    words_per_line=(2, 4),
    line_prob=0.85,
    char_height=(9, 20),
    styles=dict(
        straight=0.25, rotated=0.15, perspective=0.1, curved=0.15, vertical=0.1, columns=0.25
    ),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _delete_=True,
            type="GeneratedTextDataset",
            num_samples=100_000,
            seed=11,
            size=192,
            renderer=lines,
            pipeline=[
                dict(type="LoadCharAnnotations", with_chars=False),
                dict(
                    type="RandomTextWarp", size=192, scale=(1.0, 1.3), rotation=5, perspective=0.03
                ),
                dict(type="PackCharInputs"),
            ],
        )
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="GeneratedTextDataset",
        num_samples=100,
        seed=1_000_011,
        size=192,
        renderer=lines,
        test_mode=True,
        pipeline=[
            dict(type="ResizeLongSide", long_side=1280, magnification=1.0),
            dict(type="LoadCharAnnotations"),
            dict(type="PackCharInputs"),
        ],
    )
)
test_dataloader = val_dataloader

param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
