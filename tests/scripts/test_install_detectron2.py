"""install_detectron2.py without a network: the order of its sources, and the repackaged wheel."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from helpers.repository import ROOT
from helpers.scripts import load_script

SCRIPT = ROOT / "scripts" / "install_detectron2.py"


@pytest.fixture
def installer():
    return load_script(SCRIPT)


@pytest.fixture
def routes(installer, monkeypatch):
    """The list of sources that would be installed; Detectron2 can be imported after the first."""
    taken = []
    monkeypatch.setattr(installer, "is_installed", lambda: bool(taken))
    monkeypatch.setattr(installer, "pip_install", taken.append)
    monkeypatch.setattr(installer, "install_carried", lambda: taken.append("carried"))
    monkeypatch.setattr(installer, "git_host_reachable", lambda: True)
    monkeypatch.delenv("DETECTRON2_SOURCE", raising=False)
    return taken


def test_nothing_is_installed_if_detectron2_imports(installer, routes, monkeypatch):
    monkeypatch.setattr(installer, "is_installed", lambda: True)
    installer.main()
    assert routes == []


def test_a_named_source_comes_first(installer, routes, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_SOURCE", str(tmp_path))
    installer.main()
    assert routes == [str(tmp_path.resolve())]


def test_a_missing_named_source_is_an_error(installer, routes, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_SOURCE", str(tmp_path / "none"))
    with pytest.raises(SystemExit, match="DETECTRON2_SOURCE="):
        installer.main()


def test_upstream_is_used_if_a_git_host_answers(installer, routes):
    installer.main()
    assert routes == [f"git+{installer.UPSTREAM}@{installer.COMMIT}"]


def test_the_carrier_wheel_is_used_without_a_git_host(installer, routes, monkeypatch):
    monkeypatch.setattr(installer, "git_host_reachable", lambda: False)
    installer.main()
    assert routes == ["carried"]


def test_the_carrier_wheel_is_used_if_upstream_does_not_compile(installer, routes, monkeypatch):
    def fail(target):
        raise subprocess.CalledProcessError(1, ["pip", "install", target])

    monkeypatch.setattr(installer, "pip_install", fail)
    installer.main()
    assert routes == ["carried"]


def write_carrier(path):
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("LabGym/__init__.py", "")
        wheel.writestr("LabGym/detectron2/__init__.py", "from LabGym.detectron2.utils import env\n")
        wheel.writestr("LabGym/detectron2/utils/env.py", "import LabGym.detectron2 as d2  # not LabGymX.detectron2\n")
        wheel.writestr("LabGym/detectron2/model_zoo/configs/a.yaml", "NAME: LabGym.detectron2\n")


def test_repackaging_extracts_detectron2_under_its_own_name(installer, tmp_path):
    write_carrier(tmp_path / "carrier.whl")
    folder = installer.repackage(tmp_path / "carrier.whl", tmp_path / "source")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    configs = "detectron2/model_zoo/configs/a.yaml"
    assert files == ["detectron2/__init__.py", configs, "detectron2/utils/env.py", "setup.py"]
    assert (folder / "detectron2/__init__.py").read_text() == "from detectron2.utils import env\n"
    assert (folder / "detectron2/utils/env.py").read_text() == "import detectron2 as d2  # not LabGymX.detectron2\n"
    assert (folder / configs).read_text() == "NAME: LabGym.detectron2\n"


def test_a_wheel_of_another_checksum_is_refused(installer, monkeypatch, tmp_path):
    def download(command, **options):
        write_carrier(Path(command[command.index("--dest") + 1]) / "labgym.whl")

    monkeypatch.setattr(installer.subprocess, "run", download)
    with pytest.raises(SystemExit, match=r"labgym\.whl .*sha256 [0-9a-f]{64}, .*a2900cff"):
        installer.download_carrier(tmp_path)
    digest = hashlib.sha256((tmp_path / "labgym.whl").read_bytes()).hexdigest()
    monkeypatch.setattr(installer, "CARRIER_SHA256", digest)
    assert installer.download_carrier(tmp_path) == tmp_path / "labgym.whl"
