"""The documents keep their word: links, paths, figures, snippets and tables are checked against the repository."""

import ast
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from documents import DOCS, ROOT, anchors, blocks, name_of, prose
from PIL import Image

from helpers.config_models import macs_of, meta_model
from segvit.analysis import count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.d2 import get_segvit_cfg, load_config
from segvit.export import ImageSize, load_source
from segvit.export.formats import write_onnx
from segvit.model_folder.packing import pack_checkpoint

PROJECT = ROOT / "projects" / "SegViT"
PACKAGE = PROJECT / "segvit"
EACH_DOC = pytest.mark.parametrize("doc", DOCS, ids=name_of)
# Files that a run writes; so does one in output/, and `make setup` writes .venv/.
WRITTEN = {"config.yaml"}


@EACH_DOC
def test_links_lead_somewhere(doc):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(doc)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = doc.parent / path if path else doc
        assert linked.exists(), f"{doc.name} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(linked), f"{doc.name} links to {target}: no such heading"


@EACH_DOC
def test_paths_in_backticks_exist(doc):
    files = {path.name for pattern in ("projects/**/*", "scripts/*", "datasets/*") for path in ROOT.glob(pattern)}
    for token in re.findall(r"`([\w./-]+)`", prose(doc)):
        if token.startswith(("output/", ".venv/")) or token in WRITTEN:
            continue
        if "/" in token:
            places = (ROOT, doc.parent, PROJECT, PACKAGE)
            is_config = (PROJECT / "configs" / f"{token}.yaml").exists()  # as --model names it
            assert is_config or any((place / token).exists() for place in places), (
                f"{doc.name} names `{token}`: no such path"
            )
        elif token.endswith((".py", ".md", ".yaml", ".toml")):
            assert token in files or (ROOT / token).exists(), f"{doc.name} names `{token}`: no such file"


@EACH_DOC
def test_no_figure_is_missing(doc):
    lines = doc.read_text(encoding="utf-8").splitlines()
    missing = [number for number, line in enumerate(lines, 1) if "TODO-FIGURE" in line]
    assert not missing, f"{doc.name}: figures to fill in on lines {missing}"


def test_no_file_names_the_folder_outside():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    names = [start + "/shared" for start in ("..", "/work")]
    for path in filter(None, listing.stdout.split("\0")):
        if path == ".ci/run" or not (ROOT / path).is_file():
            continue
        content = (ROOT / path).read_bytes()
        assert not any(name.encode() in content for name in names), f"{path} names a folder outside the repository"


def leaves(cfg, prefix=""):
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def table_rows(doc):
    """The cells of every row of a document's tables that starts with a key in backticks."""
    for line in doc.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.fullmatch(r"`[A-Z0-9_]+(\.[A-Z0-9_]+)+`", cells[0]) and len(cells) == 5:
            yield cells


def documented_value(text):
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def test_configuration_table_equals_the_code():
    before = dict(leaves(get_cfg()))
    ours = {key: value for key, value in leaves(get_segvit_cfg()) if key not in before or before[key] != value}
    rows = list(table_rows(ROOT / "docs" / "configuration.md"))
    documented = {cells[0].strip("`"): documented_value(cells[1].strip("`")) for cells in rows}
    assert len(documented) == len(rows), "a key is listed twice"
    assert documented == ours
    assert {key: type(value) for key, value in documented.items()} == {key: type(value) for key, value in ours.items()}


def test_configuration_table_names_the_readers():
    for key, _, meaning, reader, source in table_rows(ROOT / "docs" / "configuration.md"):
        assert re.search(r"\w+ \w+", meaning), f"what {key} means is not said"
        assert source and not re.search(r"\bv[12]\b(?!, [\dac])", source), f"{key}: of which section or study?"
        (path,) = re.findall(r"`([\w/]+\.py)`", reader)
        code = (PACKAGE / path).read_text(encoding="utf-8")
        if not reader.startswith("Detectron2"):
            assert key.strip("`").rpartition(".")[2] in code, f"{path} does not read {key}"


COUNTED = {
    "ViT-B 512, `mix`, here": ("segvit_vit_base_512", "mix"),
    "ViT-L 640, `mix`, here": ("segvit_vit_large_640", "mix"),
    "ViT-B 512, `diagonal`, here": ("segvit_vit_base_512", "diagonal"),
}


@pytest.mark.parametrize("row", COUNTED)
def test_counted_multiply_accumulates(row):
    config, output = COUNTED[row]
    cfg = load_config(PROJECT / "configs" / "ade20k" / f"{config}.yaml", ["MODEL.SEGVIT.OUTPUT", output])
    macs = count_macs(build_random_model(cfg, device="meta").network, tuple(cfg.MODEL.VIT.IMG_SIZE))
    expected = [f"{macs[part] / 1e9:.3f}" for part in ("total", "backbone", "sem_seg_head", "inference")]
    page, log = (ROOT / "docs" / name for name in ("efficiency.md", "logs/efficiency/time_and_memory.md"))
    assert f"| {row} | " + " | ".join(expected) + " |" in log.read_text(encoding="utf-8")
    assert f" {macs['total'] / 1e9:.2f} " in page.read_text(encoding="utf-8")


ZOO = (ROOT / "MODEL_ZOO.md").read_text(encoding="utf-8")
OWN_CONFIG = re.compile(r"\[\w+\.yaml\]\((projects/\S+\.yaml)\)")
OWN_RUNS = {tuple(OWN_CONFIG.findall(line)): line for line in ZOO.splitlines() if OWN_CONFIG.search(line)}
assert OWN_RUNS, "no row of MODEL_ZOO.md links to the config of a run of our own"
# The paragraph above the rows: data and encoder of CamVid's models, and then of the demo.
OF_CAMVID, OF_DEMO = ZOO.partition("CamVid's models are")[2].partition("Times are")[0].split("The demo has")


@pytest.mark.parametrize("stages", OWN_RUNS, ids=lambda stages: "+".join(Path(path).stem for path in stages))
def test_model_zoo_rows_equal_their_configs(stages):
    """A run of several commands, each with the weights of the one before, has their configs in its row."""
    row = OWN_RUNS[stages]
    described = OF_CAMVID if row.startswith("| CamVid") else OF_DEMO
    solvers = []
    for path in stages:
        cfg = load_config(ROOT / path)
        solvers.append(f"{cfg.SOLVER.MAX_ITER} x {cfg.SOLVER.IMS_PER_BATCH}")
        assert re.search(rf"\| {cfg.SEED}( / \d)* \|", row)
        assert f" {cfg.MODEL.VIT.DEPTH} blocks of width {cfg.MODEL.VIT.EMBED_DIM}" in described
        assert re.search(rf"\b{cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES} classes\b", described)
    assert f"| {', '.join(solvers)} |" in row


COUNTED_ROWS = re.findall(r"\| ([\d.]+) \| ([\d.]+) \| \[config\]\((projects/\S+?\.yaml)\)", ZOO)


def test_composed_recipe(tmp_path):
    (snippet,) = blocks(ROOT / "docs" / "configuration.md", "yaml")
    composed = tmp_path / "composed.yaml"
    composed.write_text(re.sub(r'"(\S+\.yaml)"', rf'"{PROJECT}/configs/coco_stuff_10k/\1"', snippet))
    cfg = load_config(composed)
    assert (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.VIT.NAME) == (171, "vit_large_patch16_dinov3")
    assert cfg.MODEL.SEGVIT.OUTPUT == "diagonal"
    build_random_model(cfg, device="meta")


def test_model_zoo_counts_every_recipe():
    folders = [
        PROJECT / "configs" / name for name in ("ade20k", "coco_stuff_10k", "pascal_context", "cityscapes", "voc")
    ]
    recipes = [path.relative_to(ROOT).as_posix() for folder in folders for path in folder.glob("segvit*.yaml")]
    assert not [recipe for recipe in recipes if recipe not in ZOO]
    own = {recipe for recipe in recipes if not recipe.endswith(("_1gpu.yaml", "_59.yaml"))}
    assert own == {config for _, _, config in COUNTED_ROWS}


@pytest.mark.parametrize(("gmacs", "mparams", "config"), COUNTED_ROWS)
def test_model_zoo_counts(gmacs, mparams, config):
    name = config.partition("configs/")[2].removesuffix(".yaml")
    assert f"{macs_of(name)['total'] / 1e9:.2f}" == gmacs
    assert f"{count_params(meta_model(name).network)['total'] / 1e6:.1f}" == mparams


@pytest.fixture
def after_the_demo(tmp_path, monkeypatch):
    """A working directory as `make demo` leaves it, but with random weights and noise for images."""
    (tmp_path / "projects").symlink_to(ROOT / "projects")
    monkeypatch.chdir(tmp_path)
    save_random_demo_model(Path("output/demo/model_best.pth"))
    images = Path("output/demo/datasets/toy_scenes/images/val")
    images.mkdir(parents=True)
    for index in range(5):
        noise = np.random.default_rng(index).integers(0, 256, (128, 160, 3), dtype=np.uint8)
        Image.fromarray(noise).save(images / f"{index:05d}.jpg")


@pytest.mark.parametrize("doc", [doc for doc in DOCS if blocks(doc, "python")], ids=name_of)
def test_python_snippets(doc, after_the_demo, capsys):
    """Those of a document run one after the other, as a reader pastes them into one session."""
    if doc.name == "export.md":
        export_demo_model()
    names = {}
    for code in blocks(doc, "python"):
        exec(code.replace("rounds=20", "rounds=2"), names)
    if doc.name == "model_folder.md":
        assert names["result"].labels.shape == (128, 160) and Path("overlay.png").is_file()
        assert [result.labels.shape for result in names["results"]] == [(64, 64)] * 2
        return
    assert names["labels"].shape == (128, 160) and names["labels"].max() < 10
    if doc.name == "export.md":
        return
    output = capsys.readouterr().out
    if doc.name == "README.md":
        assert names["scores"].shape == (10, 128, 160) and names["scores"].dtype == torch.float32
        assert names["scores"].min() >= 0 and names["scores"].max() <= 1
    else:
        assert names["labels"].dtype == np.uint8
        assert all(f"{name}: " in output for name in names["predictor"].class_names)
        assert all(f"{path.name} (128, 160)" in output for path in names["paths"])
        assert "'predictor': {'median_ms'" in output


def export_demo_model():
    """Of one block, because an exporter takes seconds for each."""
    shallow = ["MODEL.VIT.DEPTH", 1, "MODEL.VIT.OUT_INDICES", [0], "MODEL.SEM_SEG_HEAD.IN_FEATURES", ["block0"]]
    cfg = load_config("projects/SegViT/configs/quick_schedules/toy_scenes.yaml", shallow)
    DetectionCheckpointer(build_model(cfg), save_dir="output").save("shallow")
    cfg.MODEL.WEIGHTS = "output/shallow.pth"
    source = load_source(cfg)
    size = ImageSize(128, 160, is_dynamic=True, patch_size=source.patch_size)
    metadata = {**source.metadata, "result": json.dumps("scores"), "smallest_side": json.dumps(size.smallest)}
    write_onnx(source.segmenter(gives_labels=False), size, metadata, Path("output/demo/model.onnx"))


def save_random_demo_model(checkpoint):
    cfg = get_segvit_cfg()
    cfg.merge_from_file("projects/SegViT/configs/quick_schedules/toy_scenes.yaml")
    checkpoint.parent.mkdir(parents=True)
    DetectionCheckpointer(build_model(cfg), save_dir=str(checkpoint.parent)).save(checkpoint.stem)
    pack_checkpoint(checkpoint, checkpoint.with_name("model"), cfg=cfg)
