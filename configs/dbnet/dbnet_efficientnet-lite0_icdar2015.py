# A DBNet for two CPU cores with bfloat16: EfficientNet-Lite0 from its ImageNet weights, trained on
# generated text and ICDAR 2015's photos 1 to 900, as many of each.
#
# Data and ImageNet weights: as ../craft/craft_efficientnet-lite0_generated-text.py says.
_base_ = ["../craft/craft_efficientnet-lite0_icdar2015.py"]

load_from = None
max_iters = 1500

model = dict(
    _delete_=True,
    type="DBNet",
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(
        type="EfficientNetLite0", num_blocks=14, out_indices=(1, 2, 3, 4), pretrained=True
    ),
    neck=dict(type="FPNC", in_channels=[24, 40, 112, 192], lateral_channels=64, out_channels=24),
    det_head=dict(
        type="DifferentiableBinarizationHead",
        in_channels=96,
        module_loss=dict(type="DifferentiableBinarizationLoss"),
        postprocessor=dict(
            type="DifferentiableBinarizationPostprocessor",
            text_repr_type="quad",
            margin=0.5,
            min_text_score=0.5,
        ),
    ),
)
train_dataloader = dict(sampler=dict(ratio=(1, 1)))
custom_hooks = []

optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=100, end=max_iters, eta_min_ratio=0.01),
]
train_cfg = dict(max_iters=max_iters, val_interval=500)
