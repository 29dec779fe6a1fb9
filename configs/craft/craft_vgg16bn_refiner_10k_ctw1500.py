# The link refiner for a CRAFT that stays as it is, on CTW1500: curved lines of text, 14 corners
# each. 8 GPUs with 6 images each. Nobody has published how long the official refiner was trained,
# or at which rate. It starts from the strong stage (craft_vgg16bn_50k_synthtext.py), or from the
# official weights: --cfg-options load_from=craft_mlt_25k.pth
#
# Data: CTW1500, or any JSON whose instances are lines; characters are not needed:
#   python tools/datasets/prepare.py ctw1500 data/ctw1500
# For MSRA-TD500, prepared likewise:
#   --cfg-options train_dataloader.dataset.dataset.data_root=data/msra_td500
_base_ = ["craft_vgg16bn_50k_synthtext.py", "../_base_/datasets/ctw1500.py"]

load_from = "work_dirs/craft_vgg16bn_50k_synthtext/iter_50000.pth"
max_iters = 10_000

model = dict(
    frozen=True,
    backbone=dict(init_cfg=None),  # all weights but the refiner's come from load_from
    det_head=dict(
        link_refiner=dict(type="LinkRefiner"),
        module_loss=dict(_delete_=True, type="LinkRefinerModuleLoss"),
        # As the official --refine: outlines rather than boxes.
        postprocessor=dict(text_repr_type="poly"),
    ),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            _base_.ctw1500_textdet_train,
            _delete_=True,
            pipeline=[
                dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
                dict(type="LoadCharAnnotations", with_chars=False),
                dict(
                    type="RandomTextWarp", size=768, scale=(1.0, 2.5), rotation=20, perspective=0.03
                ),
                _base_.colour,
                dict(type="PackCharInputs"),
            ],
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        _base_.ctw1500_textdet_test,
        pipeline=[
            dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
            dict(type="ResizeLongSide", long_side=1024, magnification=1.5),
            dict(type="LoadCharAnnotations"),
            dict(type="PackCharInputs"),
        ],
    )
)
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=500),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=500, end=max_iters, eta_min=1e-6),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
# CTW1500 has no validation photos: the last checkpoint is tested, not the best on the test set.
default_hooks = dict(checkpoint=dict(save_best=None))
