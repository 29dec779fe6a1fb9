# Faster R-CNN, R-50-FPN, COCO, with OHEM as its paper has it: the 64 hardest of 2,000 proposals an
# image by classification and localisation loss, duplicates removed, no quota of foreground.
_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

model = dict(
    # Mines once for all images of a batch; without this line it works too, image by image.
    roi_head=dict(type="MiningStandardRoIHead"),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(sampler=dict(_delete_=True, type="RoIOHEMSampler", num=64, iou_thr=0.7)),
    ),
)
# Logs what is mined; with S-OHEM it moves the schedule too.
custom_hooks = [dict(type="StratifiedOHEMHook")]
