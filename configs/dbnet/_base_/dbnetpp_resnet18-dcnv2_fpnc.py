# DBNet++: the levels of the pyramid are weighed before they are joined (adaptive scale fusion).
_base_ = "dbnet_resnet18-dcnv2_fpnc.py"

model = dict(neck=dict(asf_cfg=dict(attention_type="ScaleChannelSpatial")))
