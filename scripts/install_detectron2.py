"""Install Detectron2 into the running Python environment.

Detectron2 is not on the package index. The first of these sources that works is installed:

1. None, if ``import detectron2`` already works.
2. The wheel or source tree that ``DETECTRON2_SOURCE`` names; it is an error if that fails.
3. Upstream's Git repository at a pinned commit, if a Git host can be reached and the C++ operators compile.
4. The unmodified Python sources of 0.6 (Apache-2.0) from a wheel on the package index that contains them, repackaged
   under their own name. They lack the C++ operators, which this project does not need.

Detectron2's own requirements are in our ``setup.py``, with versions that work, so it is installed without dependencies
and an existing torch is kept.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

UPSTREAM = "https://github.com/facebookresearch/detectron2.git"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
CARRIER = "LabGym"
CARRIER_VERSION = "3.1.2"
CARRIER_SHA256 = "a2900cff8a3fb508e1975f19b5f9abd9f261966db87b0c332697fb4138c1cb2b"
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

SETUP_PY = """\
from setuptools import find_packages, setup

setup(
    name="detectron2",
    version="0.6",
    description="Detectron2 0.6, Python sources without C++ operators",
    license="Apache-2.0",
    url="https://github.com/facebookresearch/detectron2",
    packages=find_packages(),
    package_data={"detectron2": ["model_zoo/configs/**/*.yaml"]},
)
"""


def is_installed() -> bool:
    """Whether a new interpreter can import Detectron2; this one may have cached an earlier failure."""
    probe = subprocess.run([sys.executable, "-c", "import detectron2"], capture_output=True, cwd=tempfile.gettempdir())
    return probe.returncode == 0


def pip_install(target: str) -> None:
    """Build against the installed torch, and leave all installed packages as they are."""
    subprocess.run([*PIP, "install", "--quiet", "--no-deps", "--no-build-isolation", target], check=True)


def git_host_reachable() -> bool:
    if shutil.which("git") is None:
        return False
    command = ["git", "ls-remote", "--exit-code", UPSTREAM, "HEAD"]
    try:
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        return subprocess.run(command, capture_output=True, timeout=30, env=environment).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def download_carrier(folder: Path) -> Path:
    """Download the carrier wheel. Raises SystemExit if its sha256 differs from the known one."""
    command = [*PIP, "download", "--quiet", "--no-deps", "--ignore-requires-python", "--only-binary=:all:"]
    subprocess.run([*command, "--dest", str(folder), f"{CARRIER}=={CARRIER_VERSION}"], check=True)
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != CARRIER_SHA256:
        raise SystemExit(
            f"{wheel.name} has sha256 {digest}, expected {CARRIER_SHA256}: not installed. "
            "Set DETECTRON2_SOURCE to a Detectron2 wheel or source tree instead."
        )
    return wheel


def repackage(wheel: Path, folder: Path) -> Path:
    """Write the wheel's Detectron2 sources to `folder`, with their own import name, ready for pip."""
    prefix = f"{CARRIER}/detectron2/"
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.startswith(prefix) or name.endswith("/"):
                continue
            content = archive.read(name)
            if name.endswith(".py"):
                content = re.sub(rb"\b" + CARRIER.encode() + rb"\.detectron2\b", b"detectron2", content)
            target = folder / name.removeprefix(f"{CARRIER}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    (folder / "setup.py").write_text(SETUP_PY)
    return folder


def install_carried() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        download, source = Path(scratch, "download"), Path(scratch, "source")
        download.mkdir()
        pip_install(str(repackage(download_carrier(download), source)))


def install_upstream() -> None:
    """Compile the pinned commit; if that fails, install the Python sources of 0.6."""
    print(f"installing detectron2 from upstream at {COMMIT[:12]} (compiles for some minutes)")
    try:
        pip_install(f"git+{UPSTREAM}@{COMMIT}")
    except subprocess.CalledProcessError:
        print("upstream does not compile here: installing the Detectron2 0.6 Python sources from the package index")
        install_carried()


def main() -> None:
    if is_installed():
        print("detectron2 is installed already")
        return
    source = os.environ.get("DETECTRON2_SOURCE")
    if source:
        if not Path(source).exists():
            raise SystemExit(f"DETECTRON2_SOURCE={source} does not exist: name a Detectron2 wheel or source tree")
        print(f"installing detectron2 from {source}")
        pip_install(str(Path(source).resolve()))
    elif git_host_reachable():
        install_upstream()
    else:
        print("no Git host can be reached: installing the Detectron2 0.6 Python sources from the package index")
        install_carried()
    if not is_installed():
        raise SystemExit("detectron2 was installed but does not import; run `python -c 'import detectron2'` to see why")
    print("detectron2 is ready")


if __name__ == "__main__":
    main()
