# MSRA-TD500, 300 photos to train on and 200 to test, and HUST-TR400, 400 photos that are added to
# training by custom: lines of text in Chinese and English, of any orientation. From the owners'
# .gt files, or the .txt files into which DB's authors converted them:
#   python tools/datasets/prepare.py msra_td500 data/msra_td500
#   python tools/datasets/prepare.py hust_tr400 data/hust_tr400
msra_td500_textdet_data_root = "data/msra_td500"
hust_tr400_textdet_data_root = "data/hust_tr400"

msra_td500_textdet_train = dict(
    type="CharTextDataset",
    data_root=msra_td500_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
msra_td500_textdet_test = dict(
    type="CharTextDataset",
    data_root=msra_td500_textdet_data_root,
    ann_file="textdet_test.json",
    test_mode=True,
    pipeline=None,
)
hust_tr400_textdet_train = dict(
    type="CharTextDataset",
    data_root=hust_tr400_textdet_data_root,
    ann_file="textdet_train.json",
    pipeline=None,
)
