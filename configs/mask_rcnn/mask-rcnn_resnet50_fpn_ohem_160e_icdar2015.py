# MMOCR's Mask R-CNN on ICDAR 2015 with OHEM, the mask loss in the score. RoIs on text that is not
# annotated ("###") are no candidates: they would be the hardest background of all.
_base_ = "mmocr::textdet/maskrcnn/mask-rcnn_resnet50_fpn_160e_icdar2015.py"
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

model = dict(
    cfg=dict(
        roi_head=dict(type="MiningStandardRoIHead"),
        train_cfg=dict(
            rcnn=dict(
                assigner=dict(ignore_iof_thr=0.5),
                # Long thin boxes overlap little even when they are one word's.
                sampler=dict(
                    _delete_=True, type="RoIOHEMSampler", num=128, iou_thr=0.5, mask_weight=1.0
                ),
            )
        ),
    )
)
