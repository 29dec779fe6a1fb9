# S-OHEM's experiment on KITTI 2012 (paper, section 4.1 and Table 1): Faster R-CNN, trained on the
# first 5,000 images with labels and tested on the other 2,481; 2 images a step, 128 RoIs, learning
# rate 0.001 divided by ten after 30,000 of 80,000 steps; from classification alone to 2.3 times
# the localisation loss; the seven categories of its Table 3. R-50-FPN in place of VGG16, images as
# large as they are.
#
# Data: data/kitti/training/image_2 and label_2 (https://www.cvlibs.net/datasets/kitti), then
#   python tools/datasets/kitti_to_coco.py --images data/kitti/training/image_2 \
#       --annotations data/kitti/training/label_2 --numbers 0-4999 --out data/kitti/train.json
# and the same with 5000-7480 and data/kitti/val.json.
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["mmtextplug"], allow_failed_imports=False)

# Changes nothing, but MMDetection needs the scale that it notes down.
as_it_is = dict(type="Resize", scale_factor=1.0, keep_ratio=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    as_it_is,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    as_it_is,
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
dataset = dict(
    data_root="data/kitti/",
    data_prefix=dict(img="training/image_2/"),
    metainfo=dict(classes=("Car", "Pedestrian", "Cyclist", "Truck", "Van", "Tram", "Misc")),
)
train_dataloader = dict(
    batch_size=2,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True),
    dataset=dict(
        **dataset,
        ann_file="train.json",
        # The paper trains on all 5,000 images, those without an object of its categories too.
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(**dataset, ann_file="val.json", pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    type="GroupedVOCMetric",
    # The averages of Table 4b.
    groups=dict(rigid=["Car", "Truck", "Van", "Tram", "Misc"], nonrigid=["Pedestrian", "Cyclist"]),
    # A region to be ignored may be far larger than what is found in it.
    ignore_iof_thr=0.5,
    metric="mAP",
    eval_mode="11points",
    iou_thrs=[0.5, 0.6, 0.7],
    prefix="kitti",
)
test_evaluator = val_evaluator

model = dict(
    roi_head=dict(
        type="MiningStandardRoIHead",
        bbox_head=dict(num_classes=7, loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0)),
    ),
    train_cfg=dict(
        # What lies in regions to be ignored is no background: the hardest of all it would be.
        rpn=dict(assigner=dict(type="RegionAwareMaxIoUAssigner", ignore_iof_thr=0.5)),
        rpn_proposal=dict(nms_pre=2000, max_per_img=2000),
        rcnn=dict(
            assigner=dict(type="RegionAwareMaxIoUAssigner", ignore_iof_thr=0.5),
            sampler=dict(
                _delete_=True, type="StratifiedOHEMSampler", num=64, iou_thr=0.7, mode="weighted"
            ),
        ),
    ),
)
custom_hooks = [dict(type="StratifiedOHEMHook", beta_end=2.3)]

optim_wrapper = dict(
    type="OptimWrapper", optimizer=dict(type="SGD", lr=0.001, momentum=0.9, weight_decay=0.0005)
)
param_scheduler = [dict(type="MultiStepLR", by_epoch=False, milestones=[30_000], gamma=0.1)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=80_000, val_interval=10_000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=10_000))
log_processor = dict(by_epoch=False)
