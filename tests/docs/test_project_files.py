"""The notebook runs; citation, workflow, hooks and container agree with the documents."""

import re
from importlib.util import find_spec

import nbformat
import pytest
import yaml
from documents import ROOT, blocks
from nbclient import NotebookClient

import segvit
from helpers.forked_python import forked_python

NOTEBOOK = ROOT / "projects" / "SegViT" / "demo" / "own_images.ipynb"


def test_the_notebook_runs(tmp_path, monkeypatch):
    for name in ("projects", "datasets"):
        (tmp_path / name).symlink_to(ROOT / name)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit the notebook without outputs"
    smaller = {"ITERATIONS = 1000": "ITERATIONS = 2", "--num-train 400 --num-val 40": "--num-train 4 --num-val 2"}
    for long, short in smaller.items():
        assert sum(long in cell.source for cell in notebook.cells) == 1
        for cell in notebook.cells:
            cell.source = cell.source.replace(long, short)
    resources = {"metadata": {"path": tmp_path}}
    with forked_python() as python:
        monkeypatch.setenv("PATH", python["PATH"])
        NotebookClient(notebook, timeout=240, kernel_name="python3", resources=resources).execute()
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert sum("image/png" in data for data in shown) == 2  # the contact sheet and the overlay
    assert (tmp_path / "output" / "notebook" / "run" / "model" / "model.safetensors").is_file()


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == segvit.__version__
    assert f'version="{segvit.__version__}"' in (ROOT / "setup.py").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for paper in (citation["preferred-citation"], *citation["references"]):
        assert paper["url"] in readme
        assert str(paper["year"]) in readme


def test_the_workflow_runs_the_two_commands_of_the_readme():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert set(blocks(ROOT / "README.md", "bash")[0].splitlines()) < set(commands)
    supported = re.search(r"version_info\[:2\] in (.+?) else", (ROOT / "Makefile").read_text(encoding="utf-8"))[1]
    assert job["strategy"]["matrix"]["python"] == [f"3.{minor}" for minor in re.findall(r"3, (\d+)", supported)]


def test_hooks_are_the_commands_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    programs = [hook["entry"].split()[0].rpartition("/")[2] for hook in hooks]
    lint = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\nlint:")[2]
    assert programs == re.findall(r"\$\(BIN\)/(\w+)", lint)
    assert all(find_spec(program) for program in programs)


def test_every_extra_is_explained_and_installed_alike():
    extras = set(re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE))
    install = (ROOT / "INSTALL.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", install, re.MULTILINE)) == extras
    listed = {
        name: re.findall(r'--editable "\.\[(.+?)\]"', (ROOT / name).read_text(encoding="utf-8"))
        for name in ("Makefile", "INSTALL.md")
    }
    assert listed["Makefile"] == listed["INSTALL.md"] and set(listed["Makefile"][0].split(",")) <= extras


@pytest.mark.parametrize("step", ["torch==", "setuptools", "--editable", "install_detectron2"])
def test_the_container_installs_as_the_documents_do(step):
    by_hand = next(body for body in blocks(ROOT / "INSTALL.md", "bash") if "--editable" in body)
    container = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    (documented,) = [line for line in by_hand.splitlines() if step in line]
    (built,) = [line for line in container.splitlines() if step in line and line.startswith("RUN")]
    built = built.replace("RUN ", "").replace("--no-cache-dir ", "").replace(" --index-url $TORCH_INDEX", "")
    # The tests stay outside, and with them the extra `dev`.
    assert built == documented.replace("dev,", "")
