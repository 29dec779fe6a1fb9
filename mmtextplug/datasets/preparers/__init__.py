"""Published sets of photos with text, from the folders that their owners give out."""

# MMOCR's preparers and parsers do not serve. They stop at a line or number that does not fit
# without naming its file, run `eval` on Total-Text's transcriptions, take CTW1500's unreadable
# lines of the training set for readable ones, change SVT's texts to lower case, leave out photos of
# COCO-Text that have no words, and know no MSRA-TD500, ICDAR 2003, ICDAR 2017 MLT or ArT.
