"""Labels of KITTI: lines, boxes at the edge, what is ignored, and COCO's annotations of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmtextplug.datasets import kitti
from mmtextplug.datasets.kitti import KittiObject, LabelError

REST = "1.50 1.60 3.70 -2.70 1.74 46.70 -1.59"
CAR = f"Car 0.00 0 -1.58 587.01 173.33 614.12 200.12 {REST}"


def labels(tmp_path, content, size=(375, 1242)):
    path = tmp_path / "000007.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return kitti.read_labels(path, size)


def said(result):
    """Remarks as 'line what'."""
    return [f"{r.where.rpartition(':')[2]} {r.what}" for r in result.remarks]


def test_parse_line_takes_the_type_and_the_box():
    assert kitti.parse_line(CAR) == KittiObject("Car", (587.01, 173.33, 614.12, 200.12))
    nowhere = "DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10"
    assert kitti.parse_line(nowhere) == KittiObject("DontCare", (503.89, 169.71, 590.61, 190.13))


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (f"{CAR} 0.93", "16 fields, a detection with its score"),
        (CAR.rpartition(" ")[0], "not the 15 fields of a label"),
        (f"{CAR} 0.9 0.8", "not the 15 fields of a label"),
        ("Car", "not the 15 fields of a label"),
        (CAR.replace(" ", ","), "not the 15 fields of a label"),
        (CAR.replace("587.01", "wide"), "a field is no number"),
        (CAR.replace("587.01", "nan"), "a field is not finite"),
        (CAR.replace("46.70", "1e999"), "a field is not finite"),
        (CAR.replace("614.12", "587.01"), "box without area"),
        (CAR.replace("200.12", "173.32"), "box without area"),
    ],
)
def test_parse_line_names_what_is_wrong(line, fault):
    with pytest.raises(LabelError) as caught:
        kitti.parse_line(line)
    assert caught.value.fault.startswith(fault)
    assert caught.value.remedy


def test_read_labels_clips_leaves_out_and_says_so(tmp_path):
    content = (
        f"\ufeffCar 0 0 0 10 20 30 40 {REST}\r\n"
        "\n"
        f"Van 0 0 0 -5 20 130.5 90 {REST}\n"
        f"Car 0 0 0 100 5 140 50 {REST}\n"
        f"Car 0 0 0 -9 -9 0 50 {REST}\n"
        f"Tram 0 0 0 0 0 100 80 {REST}\n"
        "Car 0 0\n"
    )
    result = labels(tmp_path, content, size=(80, 100))
    assert result.objects == [
        KittiObject("Car", (10, 20, 30, 40)),
        KittiObject("Van", (0, 20, 100, 80)),
        KittiObject("Tram", (0, 0, 100, 80)),
    ]
    (third, fourth, fifth, seventh) = said(result)
    assert third == "3 box clipped to its image"
    assert fourth == "4 box outside of its image"
    assert fifth == "5 box outside of its image"
    assert seventh == "7 not the 15 fields of a label"
    assert result.remarks[-1].remedy.startswith("they are type truncated occluded alpha x1 y1")
    assert [remark.kept for remark in result.remarks] == [True, False, False, False]
    assert result.usable


@pytest.mark.parametrize(
    ("content", "usable", "remarks"),
    [
        ("", True, 0),
        ("\n \n", True, 0),
        (f"Misc 0 0 0 1 2 3 4 {REST}\n", True, 0),
        ("no label\n", False, 1),
        (f"Car 0 0 0 5 5 5 5 {REST}\n", False, 1),
        (b"Car \xff\xfe\n", False, 1),
    ],
)
def test_a_file_of_which_nothing_can_be_read_is_no_empty_street(tmp_path, content, usable, remarks):
    result = labels(tmp_path, content)
    assert result.usable == usable
    assert len(result.remarks) == remarks


_number = st.integers(-30, 60).map(lambda value: value / 2)


@given(st.tuples(_number, _number, _number, _number), st.integers(1, 20), st.integers(1, 20))
def test_clip_keeps_the_points_inside_both(box, height, width):
    x1, y1, x2, y2 = box
    found = kitti.clip(box, (height, width))
    # Centres of a grid twice as fine as the coordinates: none lies on an edge.
    inside = [
        (x, y)
        for x in (step / 2 + 0.25 for step in range(2 * width))
        for y in (step / 2 + 0.25 for step in range(2 * height))
        if x1 < x < x2 and y1 < y < y2
    ]
    if not inside:
        assert found is None
    else:
        across, down = zip(*inside)
        low, high = (min(across), min(down)), (max(across), max(down))
        assert found == (*(v - 0.25 for v in low), *(v + 0.25 for v in high))


@pytest.mark.parametrize(
    ("categories", "expected", "left_out"),
    [
        (
            "benchmark",
            [
                (1, 0, 0),
                (1, 1, 1),
                (2, 3, 0),
                (2, 4, 1),
                (3, 5, 0),
                (1, 9, 1),
                (2, 9, 1),
                (3, 9, 1),
            ],
            {"Truck": 2, "Tram": 1, "Misc": 1, "car": 1},
        ),
        (
            "paper",
            [
                *[(1, 0, 0), (5, 1, 0), (4, 2, 0), (2, 3, 0), (2, 4, 1), (3, 5, 0), (6, 6, 0)],
                *[(4, 7, 0), (7, 8, 0), *((number, 9, 1) for number in range(1, 8))],
            ],
            {"car": 1},
        ),
    ],
)
def test_coco_annotations_of_every_type(categories, expected, left_out):
    types = ["Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Truck"]
    types += ["Misc", "DontCare", "car"]
    objects = [
        KittiObject(name, (index, 2.0, index + 10.25, 22.0)) for index, name in enumerate(types)
    ]
    annotations, others = kitti.coco_annotations(objects, kitti.CATEGORIES[categories])
    found = [(a["category_id"], a["bbox"][0], a["iscrowd"]) for a in annotations]
    assert found == expected
    assert all(a["bbox"][1:] == [2.0, 10.25, 20.0] and a["area"] == 205.0 for a in annotations)
    assert others == left_out


def test_coco_annotations_of_nothing_and_of_decimals():
    paper = kitti.CATEGORIES["paper"]
    assert kitti.coco_annotations([], paper) == ([], {})
    cyclist = KittiObject("Cyclist", (587.01, 173.33, 614.12, 200.12))
    (only,), _ = kitti.coco_annotations([cyclist], paper)
    assert only == {
        "category_id": 3,
        "bbox": [587.01, 173.33, 27.11, 26.79],
        "area": 726.2769,
        "iscrowd": 0,
    }
