# A DB head on CRAFT's backbone and decoder: the decoder's map has half the size of the image, so
# that one transposed convolution is enough. It starts from ImageNet's weights. From CRAFT's, which
# backbone and decoder take over:
#   --cfg-options load_from=craft_mlt_25k.pth model.backbone.init_cfg=None
_base_ = ["../craft/_base_craft_vgg16bn.py", "_base_/schedule_1200e.py", "_base_/icdar2015.py"]

model = dict(
    backbone=dict(
        init_cfg=[
            dict(type="Xavier", layer="Conv2d", distribution="uniform"),
            dict(type="Pretrained", checkpoint="torchvision://vgg16_bn"),
        ]
    ),
    det_head=dict(
        _delete_=True,
        type="DifferentiableBinarizationHead",
        in_channels=32,
        upsample=2,
        module_loss=dict(type="DifferentiableBinarizationLoss"),
        postprocessor=dict(
            _base_.postprocessor,
            type="DifferentiableBinarizationPostprocessor",
            min_text_score=0.55,
        ),
    ),
)
test_pipeline = [
    dict(type="LoadImageFromFile", color_type="color_ignore_orientation"),
    dict(type="Resize", scale=(1333, 736), keep_ratio=True),
    dict(type="LoadOCRAnnotations", with_polygon=True, with_bbox=True, with_label=True),
    dict(
        type="PackTextDetInputs", meta_keys=("img_path", "ori_shape", "img_shape", "scale_factor")
    ),
]
train_dataloader = dict(dataset=dict(pipeline=_base_.augmented))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# As for ResNet-50 from ImageNet's weights.
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(type="LinearLR", end=100, start_factor=0.001),
    dict(type="PolyLR", power=0.9, eta_min=1e-7, begin=100, end=1200),
]
