# The same with S-OHEM; each stage has a history of losses and a ramp of its own.
_base_ = "cascade-rcnn_r50_fpn_ohem_1x_coco.py"

for stage in _base_.model.train_cfg.rcnn:
    stage.sampler.type = "StratifiedOHEMSampler"
del stage
