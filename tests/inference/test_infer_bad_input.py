"""What `tools/infer.py` says and leaves behind where files, folders, disks and users fail it.

Its network is painted: blue of a photo is the region score, green the affinity score.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import itertools
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import painted
import pytest
import torch
from PIL import Image

from mmtextplug import launch, photos

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534

CONFIG = f"""
custom_imports = dict(imports=["mmtextplug", "painted"], allow_failed_imports=False)
default_scope = "mmocr"
model = {painted.MODEL!r}
test_pipeline = [
    dict(type="ResizeLongSide", long_side=640, magnification=1.0),
    dict(type="PackCharInputs"),
]
"""


def page() -> np.ndarray:
    """One word of two characters, around (40, 30)."""
    return painted.page((64, 96), [(32, 30, 2)])


def write(path: str, **options: object) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(page()[..., ::-1])).save(path, **options)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user of this machine may look into, as pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="infer"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def command(folder: Path) -> list[str]:
    """Arguments of the tool, from a network in `folder`."""
    (folder / "config.py").write_text(CONFIG)
    torch.save({"state_dict": {"backbone.gain": torch.ones(1)}}, folder / "checkpoint.pth")
    arguments = ["--config", str(folder / "config.py"), "--device", "cpu", "--out", "out"]
    return [*arguments, "--checkpoint", str(folder / "checkpoint.pth"), "--precision", "float32"]


@pytest.fixture
def tool(folder, command, monkeypatch, capfd) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs the tool in `folder`, in this process; gives its status, the last line of what it says,
    and the lines of what it complains about, progress and log aside. ``log`` is what is logged of
    photos."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    spec = importlib.util.spec_from_file_location("infer_tool", ROOT / "tools" / "infer.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "infer_tool", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(folder)

    log: list[str] = []
    monkeypatch.setattr(photos, "print_log", lambda message, **_: log.append(message))

    def run(*arguments: str) -> tuple[int, str, list[str]]:
        monkeypatch.setattr("sys.argv", ["infer.py", *command, *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            launch.run(module.main)
        out, err = capfd.readouterr()
        said = [line for line in out.splitlines() if line.strip()]
        return caught.value.code, said[-1] if said else "", complaints(err)

    run.log = log
    return run


def complaints(text: str) -> list[str]:
    """Lines without tqdm's bar, which returns to the start of its line, and without the log's."""
    lines = [line.rpartition("\r")[2] for line in text.splitlines()]
    # Of slow ones the bar says the inverse.
    others = ("photo/s", "s/photo", " - mmengine - ")
    return [s for s in lines if s.strip() and not any(other in s for other in others)]


def results(folder: str = "out") -> dict[str, int]:
    """Numbers of words by name, of results that are whole: JSON and a picture that is as large as
    the photo; nothing else lies there."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_dir():
            continue
        assert path.suffix in (".json", ".jpg"), path
        if path.suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8"))
            assert content["precision"] == "float32"
            data = path.with_suffix(".jpg").read_bytes()
            assert data.endswith(b"\xff\xd9")  # the end of a JPEG
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            assert picture.shape == (content["height"], content["width"], 3)
            found[path.relative_to(folder).with_suffix("").as_posix()] = len(content["words"])
    return found


# --- photos -------------------------------------------------------------------------------------


def png(width: int, height: int, bits: int, colour: int, data: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def zeros(number: int) -> bytes:
    """A zlib stream of so many zeros, a thousandth as long."""
    block = 1 << 20
    packer = zlib.compressobj(9, wbits=-15)
    once = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-15)
    rest = packer.compress(bytes(number % block)) + packer.flush()
    checksum = struct.pack(">HH", number % 65521, 1)
    return b"\x78\xda" + once * (number // block) + rest + checksum


def test_the_bomb_is_an_image():
    # So that it is its size that is refused below, and nothing else.
    size = 2000
    data = png(size, size, 8, 0, zeros(size * (size + 1)))
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert found.shape == (size, size)
    assert not found.any()
    assert len(data) < size * size / 500


def test_a_bomb_of_pixels_is_refused_before_it_is_decoded(tool):
    side = 50_000
    write("in/good.png")
    Path("in/bomb.png").write_bytes(png(side, side, 8, 0, zeros(side * (side + 1))))
    assert Path("in/bomb.png").stat().st_size < 3_000_000  # it would take 2,500,000,000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, said, lines = tool("in")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 400_000  # KiB
    assert status == 1
    (line,) = lines
    assert line.startswith("skipped: in/bomb.png: 50000 x 50000 pixels are more than 250000000")
    assert "--max-pixels" in line
    assert results() == {"good": 1}
    assert "1 photos, 1 words" in said
    assert said.endswith("; 1 skipped")


@pytest.mark.parametrize("ending", ["gif", "tif", "bmp", "webp", "jpg"])
def test_large_photos_of_all_kinds_are_refused_before_they_are_decoded(tool, ending, monkeypatch):
    Path("in").mkdir()
    Image.new("L", (3000, 2000)).save(f"in/large.{ending}")
    load = "PIL.ImageFile.ImageFile.load"
    monkeypatch.setattr(load, lambda self: pytest.fail("decoded"))
    status, _, lines = tool("in", "--max-pixels", "5999999")
    assert status == 1
    (line,) = lines
    assert line.startswith(f"skipped: in/large.{ending}: 3000 x 2000 pixels are more than 5999999")


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp", "gif", "bmp", "jp2"])
def test_truncated_photos_are_skipped(tool, ending):
    write("in/good.png")
    noise().save(f"in/cut.{ending}")
    whole = Path(f"in/cut.{ending}").read_bytes()
    Path(f"in/cut.{ending}").write_bytes(whole[: len(whole) // 2])
    status, said, lines = tool("in")
    assert status == 1
    (line,) = lines
    assert line.startswith(f"skipped: in/cut.{ending}: ")
    assert "damaged, cut off" in line or "not an image" in line
    assert results() == {"good": 1}
    assert said.endswith("; 1 skipped")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello", "not an image that Pillow can read"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "not an image that Pillow can read"),
        (b"PK\x03\x04" + bytes(100), "not an image that Pillow can read"),
        # PostScript is a program, which Pillow would hand to Ghostscript.
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n",
            "not an image that Pillow can read",
        ),
    ],
    ids=["empty", "text", "pdf", "zip", "eps"],
)
def test_files_that_are_no_photos_are_skipped(tool, content, message):
    write("in/good.png")
    Path("in/x.jpg").write_bytes(content)
    status, _, lines = tool("in")
    assert status == 1
    (line,) = lines
    assert line.startswith(f"skipped: in/x.jpg: {message}")
    assert results() == {"good": 1}


def test_what_is_no_file_is_skipped(tool):
    write("in/good.png")
    os.mkfifo("in/pipe.png")
    Path("in/broken.png").symlink_to("nowhere")
    Path("in/loop.png").symlink_to("loop.png")
    status, _, lines = tool("in", "gone.png")
    assert status == 1
    assert lines == [
        "skipped: in/broken.png: no such file",
        "skipped: in/loop.png: no such file",
        "skipped: in/pipe.png: no such file",
        "skipped: gone.png: no such file",
    ]
    assert results() == {"good": 1}


def test_photos_of_16_bits_have_the_words_of_8(tool):
    write("in/8.png")
    cv2.imwrite("in/16.png", page().astype(np.uint16) * 257)
    cv2.imwrite("in/16.tif", page().astype(np.uint16) * 257)
    status, _, lines = tool("in/8.png", "in/16.png")
    assert (status, lines) == (0, [])
    assert results() == {"8": 1, "16": 1}
    found = [json.loads(Path(f"out/{name}.json").read_text())["words"] for name in ("8", "16")]
    assert found[0] == found[1]
    # Of 16 bits a colour, which not every Pillow reads.
    status, _, lines = tool("in/16.tif", "--out", "tif")
    if status:
        assert lines[0].startswith("skipped: in/16.tif: not an image that Pillow can read: convert")
    else:
        assert json.loads(Path("tif/16.json").read_text())["words"] == found[0]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tif"])
def test_of_animations_and_pages_the_first_is_read_and_the_log_says_so(tool, ending):
    second = Image.new("RGB", (96, 64))
    options = {"lossless": True} if ending == "webp" else {}
    write(f"in/many.{ending}", save_all=True, append_images=[second, second], **options)
    write("in/one.png")
    status, _, lines = tool("in")
    assert (status, lines) == (0, [])
    assert tool.log == [f"in/many.{ending}: of several frames or pages only the first is read"]
    assert results() == {"many": 1, "one": 1}


def test_an_animation_that_is_damaged_later_is_read(tool):
    frames = [noise(), noise().rotate(90), noise().rotate(180)]
    Path("in").mkdir()
    frames[0].save("in/x.gif", save_all=True, append_images=frames[1:])
    whole = Path("in/x.gif").read_bytes()
    Path("in/x.gif").write_bytes(whole[: len(whole) // 2])
    status, _, lines = tool("in")
    assert (status, lines) == (0, [])
    assert list(results()) == ["x"]


def test_names_that_are_no_text_are_names(tool):
    write("in/x.png")
    os.rename("in/x.png", b"in/\xff.png")
    write("in/y.png")
    status, _, lines = tool("in")
    assert (status, lines) == (0, [])
    found = {path.stem: json.loads(path.read_bytes()) for path in Path("out").glob("*.json")}
    assert {name: value["image"] for name, value in found.items()} == {
        "\udcff": "in/\udcff.png",
        "y": "in/y.png",
    }


# --- models -------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> tuple:
        return open, ("mark", "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"conv.weight": torch.ones(1)}}, "does not fit this model: "),
        ([torch.ones(1)], "no parameters found"),
        (b"hello", "damaged, cut off or no checkpoint"),
        (None, "is no PyTorch file"),
        ({"state_dict": {"backbone.gain": torch.ones(1)}, "x": Bomb()}, "refused: it holds more"),
    ],
    ids=["another", "list", "text", "photo", "program"],
)
def test_a_model_file_of_another_kind_is_one_line(tool, folder, content, message):
    write("in/good.png")
    if isinstance(content, bytes):
        Path("m.pth").write_bytes(content)
    elif content is None:
        write("m.png")
        Path("m.png").rename("m.pth")
    else:
        torch.save(content, "m.pth")
    status, said, lines = tool("in", "--checkpoint", "m.pth")
    assert (status, said) == (1, "")
    (line,) = lines
    assert line.startswith("infer.py: error: m.pth: ")
    assert message in line
    assert not Path("out").exists()
    assert not Path("mark").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.py", "model = dict("),
        ("c.py", "a = 1"),
        ("c.py", "\udcff"),
        ("c.pth", "PK\x03\x04"),
        ("c.json", "[]"),
    ],
)
def test_a_config_of_another_kind_is_one_line(tool, name, content):
    write("in/good.png")
    Path(name).write_text(content, encoding="utf-8", errors="surrogateescape")
    status, said, lines = tool("in", "--config", name)
    assert (status, said) == (1, "")
    (line,) = lines
    assert line.startswith(f"infer.py: error: {name}: ")


def test_an_onnx_file_of_another_kind_is_one_line(tool, folder):
    write("in/good.png")
    module = sys.modules["infer_tool"]
    for content in (b"hello", (folder / "checkpoint.pth").read_bytes()):
        Path("m.onnx").write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            arguments = ["infer.py", "in", "--out", "out", "--onnx", "m.onnx", "--device", "cpu"]
            patch.setattr("sys.argv", arguments)
            with pytest.raises((OSError, ValueError), match=r"^m\.onnx: [^\n]*$"):
                module.main()
    assert not Path("out").exists()


# --- folders, disks ------------------------------------------------------------------------------


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """As a user whom permissions hold back, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_must_not_be_read_is_skipped(tool):
    for name in ("good", "secret", "locked/x", "open/y"):
        write(f"in/{name}.png")
    write("other/z.png")
    for path in ("in/secret.png", "in/locked", "other"):
        os.chmod(path, 0)
    with nobody():
        status, said, lines = tool("in", "other", "--recursive")
    os.chmod("in/locked", 0o700)
    os.chmod("other", 0o700)
    assert status == 1
    assert lines == [
        "skipped: [Errno 13] Permission denied: 'in/locked'",
        "skipped: in/secret.png: no permission to read it",
        "skipped: [Errno 13] Permission denied: 'other'",
    ]
    assert said.endswith("; 3 skipped")
    assert results() == {"good": 1, "open/y": 1}


def test_a_folder_for_output_without_permission_is_one_line(tool):
    write("in/good.png")
    for parent in ("closed", "closed2/out"):
        Path(parent).mkdir(parents=True)
        os.chmod(parent, 0o555)
    for out, end in (("closed/out", ""), ("closed2/out", "; stopped, 1 not done")):
        with nobody():
            status, said, lines = tool("in", "--out", out)
        assert status == 1
        assert said.endswith(end) if end else not said
        (line,) = lines
        assert line.startswith("infer.py: error: ")
        assert "Permission denied" in line
        assert out in line
    Path("file").write_text("mine")
    status, said, lines = tool("in", "--out", "file")
    assert (status, said, len(lines)) == (1, "", 1)
    assert "file" in lines[0]
    assert Path("file").read_text() == "mine"


@pytest.fixture
def small_disk(folder) -> Iterator[Path]:
    """A folder `out` with room for some results."""
    path = folder / "out"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "small", str(path)]
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("mounting a small disk takes root")
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_no_space_for_output_is_one_line_and_what_is_done_stays(tool, small_disk):
    for number in range(40):
        write(f"in/{number:02}.png")
    status, said, lines = tool("in")
    assert status == 1
    (line,) = lines
    assert line.startswith("infer.py: error: ")
    assert "No space left on device" in line
    assert "out/" in line
    assert re.match(r"\d+ photos, \d+ words, .*; stopped, \d+ not done$", said)
    found = [p.name for p in small_disk.iterdir()]
    assert not any(name.endswith(".part") for name in found)
    done = [name for name in found if name.endswith(".json")]
    assert 0 < len(done) < 40
    for name in found:
        data = (small_disk / name).read_bytes()
        assert json.loads(data)["words"] if name.endswith("json") else data.endswith(b"\xff\xd9")
    assert all(name.replace(".json", ".jpg") in found for name in done)


def test_a_disk_that_fills_up_is_one_line_wherever_tests_run(tool, monkeypatch):
    for number in range(6):
        write(f"in/{number}.png")
    whole = Path.write_bytes
    number = itertools.count(1)

    def write_bytes(self: Path, data: bytes) -> int:
        if next(number) > 5:
            whole(self, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return whole(self, data)

    Path("in/00.png").write_bytes(b"no photo")
    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    status, said, lines = tool("in")
    assert status == 1
    skipped, line = lines
    assert skipped.startswith("skipped: in/00.png: not an image")
    assert line.startswith("infer.py: error: ")
    assert "No space left on device" in line
    assert "out/" in line
    # Pictures come before the JSON; of the third photo there was room for its picture.
    names = [path.name for path in Path("out").iterdir()]
    assert sorted(name[-4:] for name in names) == [".jpg"] * 3 + ["json"] * 2
    assert said.startswith("2 photos, 2 words, ")
    assert said.endswith("; 1 skipped; stopped, 4 not done")


def test_what_is_found_is_written_though_another_photo_could_not_be(tool, monkeypatch):
    for name in "abc":
        write(f"in/{name}.png")
    module = sys.modules["infer_output"]
    whole = module.write_picture

    def write_picture(path: Path, picture: np.ndarray) -> None:
        if path.stem == "a":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        whole(path, picture)

    monkeypatch.setattr(module, "write_picture", write_picture)
    status, said, lines = tool("in")
    assert (status, lines) == (
        1,
        ["infer.py: error: [Errno 28] No space left on device: 'out/a.jpg'"],
    )
    # While the first was written, the words of the second were found.
    assert results() == {"b": 1}
    assert said.startswith("1 photos, 1 words, ")
    assert said.endswith("; stopped, 2 not done")


@pytest.mark.parametrize("code", [errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM])
def test_errors_of_the_folder_stop_the_run(tool, monkeypatch, code):
    write("in/a.png")

    def refuse(path: Path, picture: np.ndarray) -> None:
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(sys.modules["infer_output"], "write_picture", refuse)
    status, said, lines = tool("in")
    assert (status, lines) == (
        1,
        [f"infer.py: error: [Errno {code}] {os.strerror(code)}: 'out/a.jpg'"],
    )
    assert said.endswith("; stopped, 1 not done")


def test_a_defect_keeps_its_traceback(tool, monkeypatch):
    write("in/a.png")

    def fail(path: Path, picture: np.ndarray) -> None:
        raise RuntimeError("a defect about memory")

    monkeypatch.setattr(sys.modules["infer_output"], "write_picture", fail)
    with pytest.raises(RuntimeError, match="a defect about memory"):
        tool("in")


def test_a_long_name_is_a_name(tool):
    write(f"in/{'x' * 240}.png")
    status, _, lines = tool("in", "--score-maps", "--out", "maps")
    assert (status, lines) == (0, [])
    assert {len(path.name) for path in Path("maps").iterdir()} == {244, 245, 251}
    status, _, lines = tool("in")
    assert (status, lines) == (0, [])
    assert results() == {"x" * 240: 1}


def test_a_photo_whose_results_cannot_have_their_names_is_skipped(tool):
    for name in ("a", "b", "c", "d" * 251):
        write(f"in/{name}.png")
    Path("out/b.jpg").mkdir(parents=True)
    status, said, lines = tool("in")
    assert status == 1
    assert lines == [
        "skipped: in/b.png: [Errno 21] Is a directory: 'out/b.jpg'",
        f"skipped: in/{'d' * 251}.png: [Errno 36] File name too long: 'out/{'d' * 251}.json'",
    ]
    assert {path.stem for path in Path("out").glob("*.json")} == {"a", "c"}
    assert not [path for path in Path("out").iterdir() if path.name.endswith(".part")]
    assert said.startswith("2 photos, 2 words, ")
    assert said.endswith("; 2 skipped")


# --- Ctrl-C -------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_is_done_and_nothing_half_done(folder, command, monkeypatch):
    monkeypatch.chdir(folder)
    number = 60
    for index in range(number):
        write(f"in/{index:02}.png")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(ROOT / "tools/infer.py"), *command, "in"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(painted.__file__).parent), str(ROOT)]),
            "SECONDS_A_PHOTO": "0.1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Where tests run in the background, Ctrl-C is ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(Path("out").glob("*.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert complaints(err) == [] or all(
        "mmtextplug: " in s or "OneDL" in s for s in complaints(err)
    )
    done = results()
    assert 3 <= len(done) < number
    last = out.strip().splitlines()[-1]
    assert last.startswith(f"{len(done)} photos, {len(done)} words, ")
    assert last.endswith(f"; stopped, {number - len(done)} not done")
    # What is done is done as always: without holes, from the first on.
    assert sorted(done) == [f"{index:02}" for index in range(len(done))]
