# The same with S-OHEM.
_base_ = "mask-rcnn_efficientnet-lite0_fpn_ohem_icdar2015.py"

model = dict(cfg=dict(train_cfg=dict(rcnn=dict(sampler=dict(type="StratifiedOHEMSampler")))))
