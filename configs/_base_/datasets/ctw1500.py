# SCUT-CTW1500, 1,000 photos to train on and 500 to test: curved lines of text, 14 corners each.
#   python tools/datasets/prepare.py ctw1500 data/ctw1500
ctw1500_textdet_data_root = "data/ctw1500"

ctw1500_textdet_train = dict(
    type="CharTextDataset",
    data_root=ctw1500_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
ctw1500_textdet_test = dict(
    type="CharTextDataset",
    data_root=ctw1500_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
