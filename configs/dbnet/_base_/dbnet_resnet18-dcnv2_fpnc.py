# The same with deformable convolutions in stages 2 to 4, as published; MMDetection's ResNet has
# them from depth 50 on only.
_base_ = "dbnet_resnet18_fpnc.py"

model = dict(
    backbone=dict(
        type="DeformableResNet",
        dcn=dict(type="DCNv2", deform_groups=1),
        stage_with_dcn=(False, True, True, True),
    )
)
