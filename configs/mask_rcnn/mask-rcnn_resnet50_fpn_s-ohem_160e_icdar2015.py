# The same with S-OHEM.
_base_ = "mask-rcnn_resnet50_fpn_ohem_160e_icdar2015.py"

model = dict(cfg=dict(train_cfg=dict(rcnn=dict(sampler=dict(type="StratifiedOHEMSampler")))))
