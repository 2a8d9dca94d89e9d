"""`analyze_model.py` on the ADE20K recipes, and `benchmark.py` on a tiny model."""

import json

import pytest
import torch
from PIL import Image

import measurements
from baselines import build_models
from helpers.processes import run_program
from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.short_runs import overrides
from segvit.analysis.from_config import build_random_model
from segvit.d2 import load_config

BASE = PROJECT / "configs" / "ade20k" / "segvit_vit_base_512.yaml"
LARGE = PROJECT / "configs" / "ade20k" / "segvit_vit_large_640.yaml"
TINY_KEYS = {
    "MODEL.VIT.IMG_SIZE": "(32,48)",
    "MODEL.VIT.EMBED_DIM": "24",
    "MODEL.VIT.DEPTH": "2",
    "MODEL.VIT.NUM_HEADS": "2",
    "MODEL.VIT.OUT_INDICES": "(0,1)",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": "('block1','block0')",
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": "5",
    "MODEL.SEGVIT.HIDDEN_DIM": "16",
    "MODEL.SEGVIT.NUM_HEADS": "2",
    "MODEL.SEGVIT.NUM_LAYERS": "1",
}
TINY = overrides(TINY_KEYS)


def run_tool(name, *arguments):
    folder = "benchmarks" if name.startswith("benchmark") else "tools"
    load_script(PROJECT / folder / f"{name}.py").main(list(map(str, arguments)))


# The papers' models: parameters (exact), and multiply-accumulates in G with upsampling and class mixing (0.5 %).
PAPER = {
    "ViT-B 512": (BASE, [512, 512], (108_736_279, 86_433_024, 22_303_255), 120.88, 107.00),
    "ViT-L 640": (LARGE, [640, 640], (344_305_303, 304_737_280, 39_568_023), 637.87, 610.66),
}


@pytest.mark.parametrize("model", PAPER)
def test_analyze_model_counts_equal_the_papers(model, capsys):
    config, size, (total, backbone, head), gmacs, backbone_gmacs = PAPER[model]
    run_tool("analyze_model", "--config-file", config, "--json")
    result = json.loads(capsys.readouterr().out)
    macs = result.pop("macs")
    assert result == {"params": {"total": total, "backbone": backbone, "sem_seg_head": head}, "input": size}
    assert set(macs) == {"total", "backbone", "sem_seg_head", "inference"}
    assert all(type(count) is int for count in macs.values())
    assert macs["total"] == sum(count for part, count in macs.items() if part != "total")
    assert macs["total"] == pytest.approx(gmacs * 1e9, rel=5e-3)
    assert macs["backbone"] == pytest.approx(backbone_gmacs * 1e9, rel=5e-3)


def test_standard_output_of_analyze_model_json_is_one_json_object():
    """In a process of its own, so that output of libraries counts."""
    options = ["--input-size", "64", "96", "--json", *TINY]
    result = run_program(PROJECT / "tools" / "analyze_model.py", "--config-file", BASE, *options)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["input"] == [64, 96]


def test_analyze_model_prints_a_table_with_every_part(capsys):
    run_tool("analyze_model", "--config-file", BASE, *TINY)
    output = capsys.readouterr().out
    assert "32 x 48" in output
    assert all(part in output for part in ("backbone", "sem_seg_head", "inference", "total"))


def test_analyze_model_counts_whole_patches(capsys):
    counts = []
    for height in (33, 48):
        run_tool("analyze_model", "--config-file", BASE, "--input-size", height, 48, "--json", *TINY)
        counts.append(json.loads(capsys.readouterr().out)["macs"])
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "nowhere.yaml"], "'nowhere.yaml'"),
        (["--config-file", BASE, "MODEL.NOWHERE", "1"], "MODEL.NOWHERE"),
        (["--config-file", BASE, "MODEL.DEVICE", "cpu", "--json"], "--json"),
    ],
)
@pytest.mark.parametrize("tool", ["analyze_model", "benchmark"])
def test_wrong_arguments_are_named(tool, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_tool(tool, *arguments)
    assert message in capsys.readouterr().err


@pytest.fixture
def small_matrices(monkeypatch):
    """Products of matrices in bfloat16 take minutes on a processor without units for it."""
    monkeypatch.setattr(measurements, "MATRIX_SIZES", {"cpu": 64})


def test_benchmark_reports_time_memory_and_macs_of_each_model(capsys, tmp_path):
    options = ["--rounds", 2, "--json", "--plot", tmp_path / "bars.png"]
    run_tool("benchmark", "--config-file", BASE, "--against", "mix", "diagonal", "linear", *options, *TINY)
    assert Image.open(tmp_path / "bars.png").size[0] > 500
    report = json.loads(capsys.readouterr().out)
    assert set(report) == {"machine", "threads", "models"}
    assert [row["name"] for row in report["models"]] == ["linear", "mix", "diagonal"]
    for row in report["models"]:
        assert set(row) == {"name", "median_ms", "spread", "ratio", "peak_mb", "gmacs"}
        assert row["median_ms"] > 0
    gmacs = {row["name"]: row["gmacs"] for row in report["models"]}
    assert gmacs["linear"] < gmacs["diagonal"]
    assert gmacs["mix"] - gmacs["diagonal"] == pytest.approx(5 * 5 * 32 * 48 / 1e9)
    assert report["models"][0]["ratio"] == 1


def test_benchmark_compares_with_another_config(tmp_path, capsys, small_matrices):
    other = tmp_path / "wider.yaml"
    other.write_text(f"_BASE_: {BASE}\n")
    options = ["--rounds", 1, "--dtype", "bf16", "--threads", 1]
    run_tool("benchmark", "--config-file", BASE, "--against", other, *options, *TINY)
    assert "wider" in capsys.readouterr().out


def test_variants_share_one_encoder_and_give_one_shape():
    cfg = load_config(BASE, TINY)
    variants = build_models(cfg, ["linear", "segmenter", "diagonal", "mix"], (32, 48))
    images = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert {tuple(variant(images).shape) for variant in variants.values()} == {(1, 5, 32, 48)}
    assert len({id(variant.backbone) for variant in variants.values()}) == 1


def test_a_random_model_is_built_without_its_pretrained_weights():
    cfg = load_config(BASE, [*TINY, "MODEL.VIT.PRETRAINED", "/nowhere.pth"])
    model = build_random_model(cfg)
    assert not model.training
    assert cfg.MODEL.VIT.PRETRAINED == "/nowhere.pth"
