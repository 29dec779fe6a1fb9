# MSRA-TD500, 300 photos to train on and 200 to test, and HUST-TR400, 400 photos that are added to
# training by custom: lines of text in Chinese and English, of any orientation.
# From the annotations as DB's authors converted them, x1,y1,...,x4,y4 and 1 for difficult lines:
#   sed -i -E 's/,1\r?$/,###/' data/msra_td500/train_gts/*.txt
#   python tools/datasets/icdar_to_json.py --images data/msra_td500/train_images \
#       --annotations data/msra_td500/train_gts --root data/msra_td500 \
#       --out data/msra_td500/textdet_train.json
# and the same for the test photos, and for HUST-TR400.
msra_td500_textdet_data_root = "data/msra_td500"
hust_tr400_textdet_data_root = "data/hust_tr400"

msra_td500_textdet_train = dict(
    type="OCRDataset",
    data_root=msra_td500_textdet_data_root,
    ann_file="textdet_train.json",
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=None,
)
msra_td500_textdet_test = dict(
    type="OCRDataset",
    data_root=msra_td500_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
hust_tr400_textdet_train = dict(
    type="OCRDataset",
    data_root=hust_tr400_textdet_data_root,
    ann_file="textdet_train.json",
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=None,
)
