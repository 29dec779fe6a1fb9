# A link refiner for the official CRAFT, which stays as it is, from generated lines of text alone:
# of 10 to 30 pixels, so for pages rather than for photos of large text. About 40 minutes of a CPU
# core. The weights are craft_mlt_25k.pth, in the extra `weights` of this package:
#   --cfg-options load_from=craft_mlt_25k.pth
_base_ = ["craft_resnet18_refiner_generated-lines.py"]

load_from = "craft_mlt_25k.pth"
max_iters = 250

model = dict(
    backbone=dict(_delete_=True, type="CRAFTVGG16BN"),
    neck=dict(in_channels=[128, 256, 512, 512, 1024], out_channels=[256, 128, 64, 32]),
    det_head=dict(
        in_channels=32,
        link_refiner=dict(in_channels=32, channels=64),
        postprocessor=dict(text_threshold=0.7, char_shift=0.1),
    ),
)

param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=20),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=20, end=max_iters, eta_min=1e-5),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
