# ICDAR 2003, 258 photos to train on and 251 to test: upright words, and the boxes of their
# characters where segmentation.xml lies beside words.xml.
#   python tools/datasets/prepare.py icdar2003 data/icdar2003
icdar2003_textdet_data_root = "data/icdar2003"

icdar2003_textdet_train = dict(
    type="CharTextDataset",
    data_root=icdar2003_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
icdar2003_textdet_test = dict(
    type="CharTextDataset",
    data_root=icdar2003_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
