"""Validation of files that are no annotation files, or are cut off."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from word_files import entry, validate, word, write

from mmtextplug.datasets import annotation_files, findings, json_stream, word_faults
from mmtextplug.datasets.word_faults import check_words

BROKEN = {
    "": "the file is empty",
    " \n": "the file is empty",
    "no json": "line 1, column 1: an object",
    "[1]": "line 1, column 1: an object",
    '{"data_list": [{}': "it ends too early",
    '{"data_list": [{"a": "b': "it ends too early",
    '{"metainfo": {},\n "data_list": [{},\n {"a": oops, "b": 1234567890123456}]}': (
        "line 3, column 8: Expecting value"
    ),
    '{"data_list": [{"ignore": tru': "it ends too early",
    '{"data_list": [{"ignore": trux': "line 1, column 27: Expecting value",
    '{"data_list": [{"text": "\\u12': "it ends too early",
    '{"data_list": [{"text": "\\u12"': "column 27: Invalid \\uXXXX escape",
    '{"data_list": [{}], "version": 1.': "it ends too early",
    '{"data_list": [{}], "version": 1.}': "line 1, column 33: ',' is expected",
    b'{"data_list": [{"text": "caf\xc3': "it ends too early",
    '{"data_list": []}': "field 'data_list' is empty",
    '{"data_list": 5}': "field 'data_list' is no list",
    '{"data_list": [{}], "data_list": [{}]}': "there twice",
    '{"data_list": [{}]} x': "something follows",
    '{"images": []}': "field 'annotations' of a COCO file",
    '{"a": 1, "b": 2}': "neither field 'data_list'",
    '{"data_list": [' + "[" * 100_000: "nested too deep",
    "\ufeff{}": "byte order mark",
    b'{"data_list": ["\xff"]}': "not UTF-8",
}


@pytest.mark.parametrize(("content", "message"), BROKEN.items())
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "words.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    _, summary = validate(path, log=None)
    assert summary.kinds[findings.FILE_BROKEN] == 1
    (finding,) = summary.examples[findings.FILE_BROKEN]
    assert message in finding.detail
    assert finding.is_error


@pytest.mark.parametrize("batch", [2, 3, 64])
def test_entries_before_the_cut_are_checked(folder, monkeypatch, batch):
    monkeypatch.setattr(annotation_files, "BATCH", batch)
    path = write(folder, [entry(f"{i}.png", [word(), word(50, 35, ignore=0.5)]) for i in range(4)])
    text = path.read_text()
    path.write_text(text[: text.rindex("false") + 3])
    found, summary = validate(path)
    places = [f"data_list[{i}].instances[1]" for i in range(3)]
    assert found == [
        *((word_faults.BAD_IGNORE, place) for place in places),
        (findings.FILE_BROKEN, "words.json"),
    ]
    assert summary.counts == {"images": 3, "words": 6, "ignored": 3, "characters": 12}
    (finding,) = summary.examples[findings.FILE_BROKEN]
    assert finding.detail.startswith("it ends too early, it may be half downloaded")


def elements_and_message(path):
    elements = []
    try:
        for _, value in json_stream.read_members(path, "data_list"):
            if isinstance(value, json_stream.Element):
                elements.append(value.text)
    except ValueError as error:
        return elements, str(error)
    return elements, ""


@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_file_cut_at_any_byte(tmp_path, monkeypatch, step):
    """Every entry that is whole comes, then the one message; the numbers are whole, too."""
    monkeypatch.setattr(json_stream, "_BYTES", step)
    entries = [
        {"ignore": True, "chars": None, "text": "caf\u00e9 \\"},
        {"ignore": False, "polygon": [1.25, -3e-07, 1e22, math.inf, -math.inf]},
        -17.5e-30,
    ]
    written = [json.dumps(item, ensure_ascii=bool(i)) for i, item in enumerate(entries)]
    written[1] = written[1][:-1] + ', "text": "\\ud83d\\ude00"}'
    head, tail = '{"version": 2.5, "data_list": [', '], "done": true}'
    whole = (head + ", ".join(written) + tail).encode()
    # A number is whole when something follows it.
    ends = [whole.index(text.encode()) + len(text.encode()) for text in written]
    ends[2] += 1
    path = tmp_path / "words.json"
    for cut in range(1, len(whole) + 1):
        path.write_bytes(whole[:cut])
        elements, message = elements_and_message(path)
        if cut < len(whole):
            assert message.startswith("it ends too early, it may be half downloaded"), cut
        else:
            assert message == ""
        count = sum(end <= cut for end in ends)
        assert elements == written[:count], cut


def test_metainfo_is_demanded(folder):
    found, _ = validate(write(folder, [entry()], metainfo=[]))
    assert found == [(annotation_files.NO_METAINFO, "metainfo")]


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(
    members=st.dictionaries(st.sampled_from(["a", "data_list", "\u00e9"]), st.lists(JSONS)),
    step=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pieces_are_what_the_whole_is(tmp_path, members, step, indent):
    path = tmp_path / "any.json"
    path.write_text(json.dumps(members, indent=indent, ensure_ascii=True))
    seen = {}
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "_BYTES", step)
        for key, value in json_stream.read_members(path, "data_list", sizes.append):
            if isinstance(value, json_stream.Element):
                seen[key].append(json.loads(value.text))
            else:
                seen[key] = [] if key == "data_list" else value
    assert repr(seen) == repr(json.loads(path.read_text()))
    assert sum(sizes) == path.stat().st_size


@given(st.text(max_size=12), st.binary(max_size=40))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_refused_and_any_text_is_taken(tmp_path, text, data):
    (tmp_path / "bytes.json").write_bytes(data)
    found, _ = validate(tmp_path / "bytes.json")
    assert found == [(findings.FILE_BROKEN, "bytes.json")]
    instance = word(text="word") | {"text": text}
    for _, kind, _ in check_words([instance], (60, 100)).faults:
        assert isinstance(kind, str)
