"""The tool that makes the environment: what it reads, what it shows, when it works again."""

from __future__ import annotations

import ast
import importlib
import io
import re
import sys
from types import ModuleType

import pytest


@pytest.fixture
def setup_env(repository, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    return importlib.import_module("setup_env")


@pytest.fixture
def setup_progress(repository, monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(repository / "tools"))
    return importlib.import_module("setup_progress")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("[12/78] c++ -MMD -MF /tmp/build/nms.o.d -Wno-unused -c nms.cpp\n", (12, 78)),
        ("  [1/78] /usr/bin/g++ -fPIC -I/usr/include x.cpp -o x.o", (1, 78)),
        ("  [78/141] /usr/local/cuda/bin/nvcc --generate-dependencies x.cu", (78, 141)),
        ("[78/78] c++ ", (78, 78)),
        ("  building 'mmcv._ext' extension", None),
        ("  warning: x.cpp[12/78] unused", None),
        ("[notice] a new release of pip", None),
        ("[12/78]", None),
        ("", None),
    ],
)
def test_ninja_progress_is_read(setup_progress, line, expected) -> None:
    assert setup_progress.parse_compiled(line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Progress 131072 of 7670718\n", (131072, 7670718)),
        ("   Progress 0 of 12", (0, 12)),
        ("Progress is made", None),
        ("Progress 12 of unknown", None),
    ],
)
def test_download_progress_is_read(setup_progress, line, expected) -> None:
    assert setup_progress.parse_downloaded(line) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (59.9, "59s"), (60, "1m00s"), (190.4, "3m10s"), (3599, "59m59s"), (3725, "1h02m")],
)
def test_durations_are_written_for_people(setup_progress, seconds, expected) -> None:
    assert setup_progress.elapsed(seconds) == expected


def test_compilation_off_a_terminal_is_a_line_every_ten_files_and_the_last(setup_progress) -> None:
    stream = io.StringIO()
    progress = setup_progress.Progress("mmcv", stream)
    for number in range(1, 79):
        progress.line(f"  [{number}/78] c++ -c file{number}.cpp\n")
    progress.close()
    shown = re.findall(r"compiling mmcv: (\d+)/78 \(\d+s\)\n", stream.getvalue())
    assert shown == ["10", "20", "30", "40", "50", "60", "70", "78"]
    assert stream.getvalue().count("\n") == 8


def test_on_a_terminal_one_line_changes(setup_progress, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    stream = Terminal()
    progress = setup_progress.Progress("mmcv", stream)
    progress.start -= 190.5
    progress.line("  Downloading https://x.org/a/onedl_mmcv-2.3.6.tar.gz (515 kB)\n")
    progress.line("Progress 250000 of 515592\n")
    progress.line("  [12/78] c++ -c a.cpp\n")
    progress.line("  a line that says nothing of progress " + "x" * 200)
    frames = stream.getvalue().split("\r\x1b[K")[1:]
    assert frames == [
        "  downloading onedl_mmcv-2.3.6.tar.gz (3m10s)",
        "  downloading onedl_mmcv-2.3.6.tar.gz: 0/1 MB (3m10s)",
        "  compiling mmcv: 12/78 (3m10s)",
        "  compiling mmcv: 12/78 (3m10s)",
    ]
    progress.close()
    assert "\n" not in stream.getvalue()


def test_sections_are_read_in_order_without_comments(setup_env) -> None:
    text = """
# A note.
# [torch] the big one
torch==2.13.0

# [mmcv-fallback]
# why
a==1; python_version < "3.11"
b==2
"""
    assert setup_env.parse_sections(text) == {
        "torch": ["torch==2.13.0"],
        "mmcv-fallback": ['a==1; python_version < "3.11"', "b==2"],
    }


def test_a_requirement_outside_a_section_is_refused(setup_env) -> None:
    with pytest.raises(setup_env.SetupError, match=r"'torch==2\.13\.0' stands before"):
        setup_env.parse_sections("# note\ntorch==2.13.0\n# [torch]\n")


def test_every_line_of_the_stack_is_one_exact_version_in_a_section_that_is_used(
    setup_env, repository
) -> None:
    text = (repository / "requirements" / "stack.txt").read_text(encoding="utf-8")
    sections = setup_env.parse_sections(text)
    steps = {step.name for step in setup_env.STEPS}
    assert set(sections) - steps == {"torchvision-fallback"}
    assert steps - set(sections) == {"project", "check"}
    pin = re.compile(r"[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*(; python_version (<|>=) \"3\.1[0-9]\")?")
    for name, lines in sections.items():
        assert lines, name
        for line in lines:
            assert pin.fullmatch(line), line
    # Each package once, or once below and once from a version of Python on.
    names = [
        line.split("==")[0] + line.partition("; ")[2] for part in sections.values() for line in part
    ]
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"torchvision"}


def test_a_step_works_again_when_what_it_depends_on_changes_and_only_then(setup_env) -> None:
    sections = {
        "build": ["pip==26.3"],
        "torch": ["torch==2.13.0"],
        "mmcv": ["onedl-mmcv==2.3.6"],
        "mmdet": ["onedl-mmdetection==3.5.1"],
        "dev": ["pytest==9.2.0"],
    }
    before = setup_env.step_keys(sections, {"project": "a"})
    assert setup_env.step_keys(dict(sections), {"project": "a"}) == before

    def changed(part: dict[str, list[str]], project: str = "a") -> set[str]:
        after = setup_env.step_keys(sections | part, {"project": project})
        return {name for name in after if after[name] != before[name]}

    assert changed({"dev": ["pytest==9.3.0"]}) == {"dev"}
    # What was compiled against the old torch is compiled again.
    assert changed({"torch": ["torch==2.14.0"]}) == {"torch", "torchvision", "mmcv", "check"}
    assert changed({"torchvision-fallback": ["torchvision==0.16.1"]}) == {"torchvision", "check"}
    assert changed({"build": ["pip==26.4"]}) == {"build"}
    assert changed({}, project="b") == {"project", "check"}


def test_another_python_starts_from_nothing(setup_env, monkeypatch) -> None:
    before = setup_env.step_keys({}, {})
    monkeypatch.setattr(setup_env.platform, "python_version", lambda: "3.12.99")
    after = setup_env.step_keys({}, {})
    assert all(after[name] != before[name] for name in before)


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("x\nOSError: [Errno 28] No space left on device\n", "disk space"),
        ("g++: fatal error: Killed signal terminated program cc1plus", "MAX_JOBS=1"),
        ("fatal error: Python.h: No such file or directory", "python3-dev"),
        ("The detected CUDA version (12.4) mismatches the version that was used", "toolkit"),
        ("Temporary failure in name resolution", "PIP_INDEX_URL"),
        ("ERROR: No matching distribution found for torch==2.13.0", "PIP_INDEX_URL"),
        ("something else", "read the log"),
    ],
)
def test_a_failure_comes_with_its_remedy(setup_progress, log, expected) -> None:
    assert expected in setup_progress.remedy_for(log)


def test_a_failed_command_shows_its_last_lines_the_log_and_the_remedy(
    setup_env, setup_progress, tmp_path
) -> None:
    code = "for n in range(40): print('line', n)\nraise SystemExit('No space left on device')"
    log = tmp_path / "step.log"
    with pytest.raises(setup_env.SetupError) as caught:
        setup_progress.run([sys.executable, "-c", code], "torch", log, {})
    message = str(caught.value)
    assert message.startswith("torch failed with status 1; its last lines:")
    assert "line 39" in message
    assert "line 20\n" not in message
    assert f"full log: {log}" in message
    assert message.endswith("remedy: free some disk space (TMPDIR counts too), then run it again")
    logged = log.read_text(encoding="utf-8").splitlines()
    assert [line for line in logged if line.startswith("line ")] == [f"line {n}" for n in range(40)]


def test_a_wrong_python_is_refused_with_a_better_one(setup_env, monkeypatch) -> None:
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: name if "3.11" in name else None)
    for version in ((3, 9, 18), (3, 13, 0)):
        monkeypatch.setattr(setup_env.sys, "version_info", version)
        with pytest.raises(setup_env.SetupError, match=r"make PYTHON=python3\.11 setup"):
            setup_env.check_python()
    for version in ((3, 10, 0), (3, 12, 9)):
        monkeypatch.setattr(setup_env.sys, "version_info", version)
        setup_env.check_python()


@pytest.mark.parametrize("name", ["setup_env.py", "setup_progress.py"])
def test_an_old_python_gets_as_far_as_being_told(repository, name) -> None:
    source = (repository / "tools" / name).read_text(encoding="utf-8")
    assert isinstance(ast.parse(source, feature_version=(3, 7)), ast.Module)


def test_a_missing_compiler_or_header_is_found_before_anything_is_installed(
    setup_env, monkeypatch, tmp_path
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: None)
    with pytest.raises(setup_env.SetupError, match=r"no C\+\+ compiler .*apt-get install g\+\+"):
        setup_env.check_machine({"mmcv"}, tmp_path / ".venv")
    setup_env.check_machine({"dev"}, tmp_path / ".venv")
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: name)
    monkeypatch.setattr(setup_env.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(setup_env.SetupError, match=r"Python\.h.*python3-dev"):
        setup_env.check_machine({"mmcv"}, tmp_path / ".venv")
    (tmp_path / "Python.h").write_text("")
    setup_env.check_machine({"mmcv"}, tmp_path / ".venv")


def test_a_full_disk_is_found_before_anything_is_installed(
    setup_env, monkeypatch, tmp_path
) -> None:
    class Usage:
        free = 3 << 30

    monkeypatch.setattr(setup_env.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(setup_env.SetupError, match=r"3\.0 GiB free on the disk of .*8 needed"):
        setup_env.check_machine({"torch"}, tmp_path / ".venv")


def test_a_folder_of_someone_elses_is_left_alone(setup_env, tmp_path) -> None:
    folder = tmp_path / ".venv"
    folder.mkdir()
    (folder / "precious").write_text("x")
    with pytest.raises(setup_env.SetupError, match="was not made by this tool"):
        setup_env.Environment(folder, {}, "").create()
    assert (folder / "precious").read_text() == "x"
