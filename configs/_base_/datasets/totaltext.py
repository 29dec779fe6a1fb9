# Total-Text, 1,255 photos to train on and 300 to test: curved words, polygons of any number of
# corners.
#   python tools/datasets/prepare.py totaltext data/totaltext
totaltext_textdet_data_root = "data/totaltext"

totaltext_textdet_train = dict(
    type="CharTextDataset",
    data_root=totaltext_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
totaltext_textdet_test = dict(
    type="CharTextDataset",
    data_root=totaltext_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
