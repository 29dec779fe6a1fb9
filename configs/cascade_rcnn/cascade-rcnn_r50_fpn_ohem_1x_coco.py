# Cascade R-CNN, R-50-FPN, COCO: every stage mines for itself, and refines all RoIs for the next
# one, not only the hard ones.
_base_ = "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

model = dict(
    roi_head=dict(type="MiningCascadeRoIHead"),
    train_cfg=dict(rpn_proposal=dict(nms_pre=2000, max_per_img=2000)),
)
for stage in _base_.model.train_cfg.rcnn:
    stage.sampler = dict(type="RoIOHEMSampler", num=64, iou_thr=0.7)
del stage
# Logs what is mined; with S-OHEM it moves the schedule too.
custom_hooks = [dict(type="StratifiedOHEMHook")]
