# MMOCR's Mask R-CNN on ICDAR 2015 with OHEM, the mask loss in the score. Anchors and RoIs on text
# that is not annotated ("###") are no candidates: they would be the hardest background of all.
_base_ = "mmocr::textdet/maskrcnn/mask-rcnn_resnet50_fpn_160e_icdar2015.py"
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

model = dict(
    cfg=dict(
        roi_head=dict(type="MiningStandardRoIHead"),
        train_cfg=dict(
            rpn=dict(assigner=dict(type="RegionAwareMaxIoUAssigner", ignore_iof_thr=0.5)),
            rcnn=dict(
                # A low-quality match takes a RoI from the word that it overlaps most.
                assigner=dict(
                    type="RegionAwareMaxIoUAssigner", ignore_iof_thr=0.5, match_low_quality=False
                ),
                # Long thin boxes overlap little even when they are one word's.
                sampler=dict(
                    _delete_=True, type="RoIOHEMSampler", num=128, iou_thr=0.5, mask_weight=1.0
                ),
            ),
        ),
    )
)
# Logs what is mined; with S-OHEM it moves the schedule too.
custom_hooks = [dict(type="StratifiedOHEMHook")]
