"""Ceilings are lifted when they are stale, and only then; what is missing is named."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

# Loads compat.py alone: the package itself would import the real upstream packages first.
PRELUDE = """
import importlib.util, json, logging, sys
spec = importlib.util.spec_from_file_location("compat", {compat!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
records = []
class Keep(logging.Handler):
    def emit(self, record):
        records.append([record.levelname, record.getMessage()])
logging.getLogger("mmtextplug").addHandler(Keep())
logging.getLogger("mmtextplug").setLevel(logging.DEBUG)
def attempt(name):
    try:
        return compat.import_upstream(name).__name__
    except compat.UpstreamError as error:
        return str(error)
"""

CHECK = """
import {needs}
from .version import __version__
def numbers(v): return tuple(int(p) for p in v.split(".")[:3])
{asserts}
"""


class Upstream:
    """Writes fake upstream packages and runs code beside them."""

    def __init__(self, folder: Path, python, compat: Path) -> None:
        self.folder = folder
        self.python = python
        self.prelude = PRELUDE.format(compat=str(compat))
        self.package("mmengine", "0.10.12")

    def package(self, name: str, version: str, code: str = "") -> None:
        """Writes a package whose `__init__` reads its version, then runs `code`."""
        folder = self.folder / name
        folder.mkdir()
        (folder / "version.py").write_text(f"__version__ = {version!r}\n")
        (folder / "__init__.py").write_text(f"from .version import __version__\n{code}\n")

    def asserting(self, name: str, version: str, **ceilings: str) -> None:
        """Writes a package that refuses other packages from a version on."""
        asserts = "\n".join(
            f"assert numbers({need}.__version__) < numbers({below!r}), "
            f"'{need} ' + {need}.__version__ + ' is incompatible with {name}'"
            for need, below in ceilings.items()
        )
        code = CHECK.format(needs=", ".join(ceilings), asserts=asserts)
        self.package(name, version, code)

    def run(self, code: str, **variables: str):
        """Runs code after the prelude; returns what its last line, a value, is."""
        *body, value = textwrap.dedent(code).strip().splitlines()
        script = "\n".join([self.prelude, *body, f"print(json.dumps({value}))"])
        result = self.python("-c", script, **variables)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def upstream(tmp_path: Path, python, repository: Path) -> Upstream:
    return Upstream(tmp_path, python, repository / "mmtextplug" / "compat.py")


def test_mmocr_that_refuses_mmcv_and_mmdet_imports_once_with_one_line(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    names, versions, same, messages, lifted = upstream.run("""
        first = compat.import_upstream("mmocr")
        second = compat.import_upstream("mmocr")
        import mmcv, mmdet, mmocr
        versions = [mmcv.__version__, mmdet.__version__, mmocr.__version__]
        same = first is second is mmocr
        [first.__name__, versions, same, records, compat.ceilings_lifted()]
    """)
    assert names == "mmocr"
    assert versions == ["2.3.6", "3.5.1", "1.0.1"]
    assert same
    assert messages == [
        [
            "WARNING",
            "mmtextplug: mmocr 1.0.1 refuses mmcv 2.3.6 and mmdet 3.5.1: lifted its ceiling",
        ]
    ]
    assert lifted == {"mmocr": "mmcv 2.3.6 and mmdet 3.5.1"}


@pytest.mark.parametrize(("mmdet", "ceiling"), [("3.1.0", "2.1.0"), ("3.3.0", "2.2.0")])
def test_mmdet_that_refuses_mmcv_imports_also_on_the_way_to_mmocr(
    upstream: Upstream, mmdet: str, ceiling: str
) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.asserting("mmdet", mmdet, mmcv=ceiling)
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    found, lifted, count = upstream.run("""
        compat.import_upstream("mmocr")
        import mmcv, mmdet
        [[mmcv.__version__, mmdet.__version__], compat.ceilings_lifted(), len(records)]
    """)
    assert found == ["2.3.6", mmdet]
    assert lifted["mmdet"] == "mmcv 2.3.6"
    assert lifted["mmocr"].startswith("mmcv 2.3.6")
    assert count == 2


def test_nothing_is_touched_when_the_ceilings_hold(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.0.1")
    upstream.asserting("mmdet", "3.1.0", mmcv="2.1.0")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    assert upstream.run("""
        name = attempt("mmocr")
        [name, records, compat.ceilings_lifted(), sys.modules["mmcv"].__version__]
    """) == ["mmocr", [], {}, "2.0.1"]


def test_a_package_imported_by_someone_else_is_handed_out_as_it_is(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    assert upstream.run("""
        import mmcv, mmdet
        mmcv.__version__, mmdet.__version__ = "2.1.0", "3.1.0"
        import mmocr
        mmcv.__version__, mmdet.__version__ = "2.3.6", "3.5.1"
        [compat.import_upstream("mmocr") is mmocr, records, compat.ceilings_lifted()]
    """) == [True, [], {}]


def test_versions_are_restored_when_the_import_still_fails(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1")
    upstream.package(
        "mmocr",
        "1.0.1",
        "import mmcv, mmdet\nassert mmcv.__version__ < '2.2', 'too new'\nraise RuntimeError('bad')",
    )
    error, mmcv, mmdet, left, lifted = upstream.run("""
        error = attempt("mmocr")
        left = [name for name in sys.modules if name == "mmocr"]
        versions = [sys.modules[n].__version__ for n in ("mmcv", "mmdet")]
        [error, *versions, left, compat.ceilings_lifted()]
    """)
    assert "mmocr cannot be imported: RuntimeError: bad" in error
    assert (mmcv, mmdet) == ("2.3.6", "3.5.1")
    assert left == []
    assert lifted == {}


def test_a_floor_is_no_ceiling(upstream: Upstream) -> None:
    upstream.package("mmcv", "1.7.0")
    upstream.package("mmdet", "2.28.0")
    upstream.package("mmocr", "1.0.1", "assert False, 'MMCV 1.7.0 is incompatible'")
    error, version, messages = upstream.run("""
        error = attempt("mmocr")
        [error, sys.modules["mmcv"].__version__, records]
    """)
    assert error.startswith("mmocr cannot be imported from mmocr: MMCV 1.7.0 is incompatible")
    assert (version, messages) == ("1.7.0", [])


def test_a_submodule_is_imported_from_the_lifted_package(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    (upstream.folder / "mmocr" / "models.py").write_text("import mmcv\nSEEN = mmcv.__version__\n")
    # Only the package itself sees the older version, nothing below it.
    assert upstream.run('compat.import_upstream("mmocr.models").SEEN') == "2.3.6"


def test_other_ranks_say_nothing_aloud(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0")
    levels = '[attempt("mmocr"), [level for level, _ in records]]'
    assert upstream.run(levels, RANK="1") == ["mmocr", ["DEBUG"]]
    assert upstream.run(levels, RANK="0") == ["mmocr", ["WARNING"]]


def test_threads_that_import_at_once_get_one_module_and_one_line(upstream: Upstream) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1", "import time; time.sleep(0.2)")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    assert upstream.run("""
        from concurrent.futures import ThreadPoolExecutor
        with ThreadPoolExecutor(8) as pool: names = list(pool.map(attempt, ["mmocr"] * 8))
        [names, len(records), sys.modules["mmcv"].__version__]
    """) == [["mmocr"] * 8, 1, "2.3.6"]


FAULTS = {
    "no operators": (
        "mmcv.ops",
        "raise ModuleNotFoundError(\"No module named 'mmcv._ext'\", name='mmcv._ext')",
        "mmcv was installed without its compiled operators; remedy: pip uninstall mmcv",
    ),
    "operators of another torch": (
        "mmcv.ops",
        "raise ImportError('/x/mmcv/_ext.so: undefined symbol: _ZN3c10')",
        "compiled against another version of torch; remedy: MMCV_WITH_OPS=1 pip install",
    ),
    "imgaug on NumPy 2": (
        "mmcv.ops",
        "raise AttributeError('`np.sctypes` was removed in the NumPy 2.0 release.')",
        "imgaug 0.4.0 does not run on NumPy 2; remedy: pip uninstall imgaug",
    ),
    "torchvision of another build": (
        "mmcv.ops",
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "torchvision and torch are different builds; remedy: install the torchvision",
    ),
    "a dependency is missing": (
        "mmcv.ops",
        "import lmdb_not_there",
        "it needs lmdb_not_there; remedy: pip install lmdb_not_there",
    ),
    "a name is missing": (
        "mmcv.ops",
        "from mmcv import nothing_of_that_kind",
        "mmcv.ops cannot be imported from mmcv 2.3.6: cannot import name",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_package_is_named_with_its_remedy(upstream: Upstream, fault: str) -> None:
    name, code, expected = FAULTS[fault]
    upstream.package("mmcv", "2.3.6")
    (upstream.folder / "mmcv" / "ops.py").write_text(code)
    message = upstream.run(f"attempt({name!r})")
    assert expected in message
    assert message.startswith("mmcv.ops cannot be imported")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("mmocr", "mmocr is not installed; remedy: pip install --no-deps mmocr==1.0.1"),
        ("mmdet", "mmdet is not installed; remedy: pip install --no-build-isolation onedl-mmdet"),
        ("mmcv", "mmcv is not installed; remedy: MMCV_WITH_OPS=1 pip install"),
        ("mmengine", "mmengine is not installed; remedy: pip install onedl-mmengine"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    upstream: Upstream, missing: str, expected: str
) -> None:
    upstream.package("mmcv", "2.3.6")
    upstream.package("mmdet", "3.5.1")
    upstream.asserting("mmocr", "1.0.1", mmcv="2.2.0", mmdet="3.2.0")
    message = upstream.run(f"""
        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == {missing!r}: raise ModuleNotFoundError(name, name=name)
        sys.meta_path.insert(0, Absent())
        attempt("mmocr.models")
    """)
    assert message.startswith(expected)


def test_the_installed_stack_imports_and_keeps_its_versions() -> None:
    mmcv = pytest.importorskip("mmcv")
    mmdet = pytest.importorskip("mmdet")
    from importlib.metadata import packages_distributions, version

    from mmtextplug.compat import import_upstream

    assert import_upstream("mmocr").__name__ == "mmocr"
    for module in (mmcv, mmdet):
        distribution = packages_distributions()[module.__name__][0]
        assert module.__version__ == version(distribution)
