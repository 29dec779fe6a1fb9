# ICDAR 2013 focused scene text, 229 photos to train on and 233 to test: upright words, and the
# boxes of their characters where the truth of the segmentation task (Challenge 2, task 2) is there.
#   python tools/datasets/prepare.py icdar2013 data/icdar2013
icdar2013_textdet_data_root = "data/icdar2013"

icdar2013_textdet_train = dict(
    type="CharTextDataset",
    data_root=icdar2013_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
icdar2013_textdet_test = dict(
    type="CharTextDataset",
    data_root=icdar2013_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
