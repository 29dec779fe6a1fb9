# ICDAR 2015 incidental scene text, 1,000 photos to train on and 500 to test: quads.
#   python tools/datasets/prepare.py icdar2015 data/icdar2015
# None are for choosing checkpoints and thresholds; these leave the last hundred for that:
#   python tools/datasets/prepare.py icdar2015 data/icdar2015 --split train \
#       --numbers 1-900 --name train900
#   python tools/datasets/prepare.py icdar2015 data/icdar2015 --split train \
#       --numbers 901-1000 --name val
icdar2015_textdet_data_root = "data/icdar2015"

icdar2015_textdet_train = dict(
    type="CharTextDataset",
    data_root=icdar2015_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
icdar2015_textdet_test = dict(
    type="CharTextDataset",
    data_root=icdar2015_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
icdar2015_textdet_train900 = dict(
    type="CharTextDataset",
    data_root=icdar2015_textdet_data_root,
    ann_file="textdet_train900.json",
    pipeline=None,
)
icdar2015_textdet_val = dict(
    type="CharTextDataset",
    data_root=icdar2015_textdet_data_root,
    ann_file="textdet_val.json",
    test_mode=True,
    pipeline=None,
)
