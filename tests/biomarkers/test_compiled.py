"""Machine code is kept in a folder of the user, never beside the sources, and works where nothing can be kept."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from fundusion.biomarkers import compiled
from fundusion.biomarkers.skeleton import _code

CODE = (
    "import numpy as np\nfrom fundusion.biomarkers.compiled import cache_folder, is_compiled\n"
    "from fundusion.biomarkers.lesions import count_lesions\nfrom fundusion.biomarkers.complexity import count_boxes\n"
    "print(count_boxes(np.ones((16, 16))).occupied[0], cache_folder(), is_compiled())"
)


def run(home):
    env = os.environ | {"FUNDUSION_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_code_is_kept_in_the_home_and_not_beside_the_sources(tmp_path):
    value, folder, ready = run(tmp_path)
    assert value == "256"
    assert Path(folder).is_relative_to(tmp_path)
    assert ready == "False"
    assert list(Path(folder).rglob("*.nbi"))
    assert not list(Path(compiled.__file__).parent.rglob("*.nbi"))


def test_a_home_that_cannot_be_written_costs_time_only(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert run(blocked)[:2] == ["256", "None"]


def test_the_setting_of_others_is_left_alone():
    before = numba.config.CACHE_DIR
    assert _code.compiled is _code.compiled
    assert before == numba.config.CACHE_DIR


def test_a_change_of_the_sources_makes_another_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "x.py"))
    (tmp_path / "a.py").write_text("@kernel\n1")
    one = compiled._digest()
    (tmp_path / "a.py").write_text("@kernel\n2")
    assert compiled._digest() != one


def test_without_the_compiler_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match="biomarkers"):
        compiled.Kernel(lambda: 1)()


def test_warm_up_tells_the_time_and_marks_what_is_ready(monkeypatch, tmp_path):
    monkeypatch.setattr(compiled, "_place", [tmp_path])
    assert not compiled.is_compiled()
    assert compiled.warm_up(lambda: None) >= 0
    assert compiled.is_compiled()
