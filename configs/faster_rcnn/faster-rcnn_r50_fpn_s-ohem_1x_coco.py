# The same with S-OHEM: hard by classification loss first; once losses are stable the localisation
# loss gains weight, up to the measured ratio of the two.
_base_ = "faster-rcnn_r50_fpn_ohem_1x_coco.py"

model = dict(train_cfg=dict(rcnn=dict(sampler=dict(type="StratifiedOHEMSampler", mode="weighted"))))
