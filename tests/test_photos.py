"""Photos of all kinds, and what is none: read, turned upright, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmtextplug import photos
from mmtextplug.photos import read_photo


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_photos_are_turned_upright(tmp_path, orientation, ending):
    back = {
        1: lambda image: image,
        2: lambda image: image[:, ::-1],
        3: lambda image: image[::-1, ::-1],
        4: lambda image: image[::-1],
        5: lambda image: image.transpose(1, 0, 2),
        6: lambda image: np.rot90(image, 1),
        7: lambda image: np.rot90(image, 2).transpose(1, 0, 2),
        8: lambda image: np.rot90(image, -1),
    }
    upright = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo.{ending}"
    stored = Image.fromarray(np.ascontiguousarray(back[orientation](upright)))
    stored.save(path, exif=exif, **({"lossless": True} if ending == "webp" else {}))
    image, found = read_photo(path)
    np.testing.assert_array_equal(image[..., ::-1], upright)
    assert found == orientation


def test_an_orientation_that_does_not_exist_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.new("RGB", (5, 3)).save(tmp_path / "photo.jpg", exif=exif)
    image, orientation = read_photo(tmp_path / "photo.jpg")
    assert image.shape == (3, 5, 3)
    assert orientation == 1


GREY = np.array([[0, 100, 255]], np.uint8)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("l.png", Image.fromarray(GREY), GREY),
        ("bit.png", Image.fromarray(GREY > 50), [[0, 255, 255]]),
        ("i16.png", Image.fromarray(GREY.astype(np.uint16) * 257), GREY),
        ("i16.tif", Image.fromarray(GREY.astype(np.uint16) * 257), GREY),
        ("i32.tif", Image.fromarray(GREY.astype(np.int32)), GREY),
        ("i32_16.tif", Image.fromarray(GREY.astype(np.int32) * 257), GREY),
        ("i32_32.tif", Image.fromarray(GREY.astype(np.int32) * 1_000_000), GREY),
        ("f.tif", Image.fromarray(np.float32([[-1, 0, np.nan, 3]])), [[0, 64, 64, 255]]),
        ("flat.tif", Image.fromarray(np.float32([[7, 7]])), [[0, 0]]),
        ("la.png", Image.merge("LA", [Image.fromarray(GREY)] * 2), [[128, 117, 255]]),
    ],
)
def test_grey_of_all_depths(tmp_path, name, image, expected):
    image.save(tmp_path / name)
    found, _ = read_photo(tmp_path / name)
    np.testing.assert_array_equal(found, np.repeat(np.uint8(expected)[..., None], 3, axis=2))


def test_colours_of_all_kinds(tmp_path):
    rgb = Image.new("RGB", (4, 4), (200, 30, 60))
    rgb.quantize(4).save(tmp_path / "palette.png")
    rgb.convert("CMYK").save(tmp_path / "cmyk.tif")
    rgb.save(tmp_path / "anim.gif", save_all=True, append_images=[Image.new("RGB", (4, 4))])
    opaque = rgb.convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    clear = opaque.copy()
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    rgb.save(tmp_path / "key.png", transparency=(200, 30, 60))
    for name in ("palette.png", "cmyk.tif", "anim.gif", "opaque.png"):
        np.testing.assert_array_equal(read_photo(tmp_path / name)[0][1, 2], [60, 30, 200])
    for name in ("clear.png", "key.png"):
        np.testing.assert_array_equal(read_photo(tmp_path / name)[0][1, 2], [128, 128, 128])


def noise_bytes(tmp_path: Path, ending: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = tmp_path / f"whole.{ending}"
    Image.fromarray(noise).save(path)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("empty", "the file is empty"),
        ("text", "not an image that Pillow can read"),
        ("cut jpg", "damaged, cut off"),
        ("cut png", "damaged, cut off"),
        ("bad png", "damaged, cut off"),
        ("header", "damaged, cut off|not an image"),
    ],
)
def test_files_that_are_no_photos_are_refused(tmp_path, kind, message):
    whole = noise_bytes(tmp_path, "jpg" if "jpg" in kind else "png")
    damaged = bytearray(whole)
    damaged[3000:3050] = b"x" * 50
    contents = {
        "empty": b"",
        "text": b"hello",
        "cut jpg": whole[: len(whole) // 2],
        "cut png": whole[: len(whole) // 2],
        "bad png": bytes(damaged),
        "header": whole[:30],
    }
    path = tmp_path / "photo"
    path.write_bytes(contents[kind])
    with pytest.raises(ValueError, match=message) as caught:
        read_photo(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_size_is_limited_before_decoding(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("1", (3000, 2000)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    assert read_photo(path, 6_000_000)[0].shape == (2000, 3000, 3)
    assert Image.MAX_IMAGE_PIXELS == 1_000_000  # Pillow's, for whoever uses it
    monkeypatch.setattr(photos, "_to_bgr", pytest.fail)
    with pytest.raises(ValueError, match=r"3000 x 2000 pixels are more than 5999999: .*max-pixels"):
        read_photo(path, 5_999_999)


def test_missing_photo():
    with pytest.raises(FileNotFoundError, match=r"none\.jpg: no such file"):
        read_photo("none.jpg")
