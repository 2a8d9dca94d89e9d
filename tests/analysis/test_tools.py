"""The command-line tools: analyze_model on the ADE20K recipes, benchmark on a tiny model."""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from PIL import Image

from baselines import build_models
from helpers.repository import PROJECT
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
TINY = [item for pair in TINY_KEYS.items() for item in pair]


def load_tool(name):
    """A script of projects/SegViT/tools as a module."""
    spec = importlib.util.spec_from_file_location(
        name, PROJECT / ("benchmarks" if name.startswith("benchmark") else "tools") / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The papers' models: parameters (exact), and multiply-accumulates in G with upsampling and class mixing (0.5 %).
PAPER = {
    "ViT-B 512": (BASE, [512, 512], (108_736_279, 86_433_024, 22_303_255), 120.88, 107.00),
    "ViT-L 640": (LARGE, [640, 640], (344_305_303, 304_737_280, 39_568_023), 637.87, 610.66),
}


@pytest.mark.parametrize("model", PAPER)
def test_analyze_model_gives_the_papers_counts(model, capsys):
    config, size, (total, backbone, head), gmacs, backbone_gmacs = PAPER[model]
    load_tool("analyze_model").main(["--config-file", str(config), "--json"])
    result = json.loads(capsys.readouterr().out)
    macs = result.pop("macs")
    assert result == {"params": {"total": total, "backbone": backbone, "sem_seg_head": head}, "input": size}
    assert set(macs) == {"total", "backbone", "sem_seg_head", "inference"}
    assert all(type(count) is int for count in macs.values())
    assert macs["total"] == sum(count for part, count in macs.items() if part != "total")
    assert macs["total"] == pytest.approx(gmacs * 1e9, rel=5e-3)
    assert macs["backbone"] == pytest.approx(backbone_gmacs * 1e9, rel=5e-3)


def test_analyze_model_prints_one_object_alone():
    command = [
        sys.executable,
        PROJECT / "tools" / "analyze_model.py",
        "--config-file",
        BASE,
        "--input-size",
        "64",
        "96",
    ]
    result = subprocess.run([*command, "--json", *TINY], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["input"] == [64, 96]


def test_analyze_model_table(capsys):
    load_tool("analyze_model").main(["--config-file", str(BASE), *TINY])
    output = capsys.readouterr().out
    assert "32 x 48" in output
    assert all(part in output for part in ("backbone", "sem_seg_head", "inference", "total"))


def test_analyze_model_rounds_up_to_whole_patches(capsys):
    counts = []
    for size in (["33", "48"], ["48", "48"]):
        load_tool("analyze_model").main(["--config-file", str(BASE), "--input-size", *size, "--json", *TINY])
        counts.append(json.loads(capsys.readouterr().out)["macs"])
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "nowhere.yaml"], "'nowhere.yaml' does not exist"),
        (["--config-file", str(BASE), "MODEL.NOWHERE", "1"], "no config key MODEL.NOWHERE"),
        (["--config-file", str(BASE), "MODEL.DEVICE", "cpu", "--json"], "--json must come before the KEY VALUE pairs"),
    ],
)
@pytest.mark.parametrize("tool", ["analyze_model", "benchmark"])
def test_wrong_arguments_are_explained(tool, arguments, message, capsys):
    with pytest.raises(SystemExit):
        load_tool(tool).main(arguments)
    assert message in capsys.readouterr().err


def test_benchmark_json(capsys, tmp_path):
    wanted = ["--rounds", "2", "--json", "--plot", str(tmp_path / "bars.png")]
    load_tool("benchmark").main(
        ["--config-file", str(BASE), "--against", "mix", "diagonal", "linear", *wanted, *TINY],
    )
    assert Image.open(tmp_path / "bars.png").size[0] > 500
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"machine", "threads", "models"}
    assert [row["name"] for row in result["models"]] == ["linear", "mix", "diagonal"]
    for row in result["models"]:
        assert set(row) == {"name", "median_ms", "spread", "ratio", "peak_mb", "gmacs"}
        assert row["median_ms"] > 0
    gmacs = {row["name"]: row["gmacs"] for row in result["models"]}
    assert gmacs["linear"] < gmacs["diagonal"]
    assert gmacs["mix"] - gmacs["diagonal"] == pytest.approx(5 * 5 * 32 * 48 / 1e9)
    assert result["models"][0]["ratio"] == 1


def test_benchmark_against_another_config(tmp_path, capsys):
    other = tmp_path / "wider.yaml"
    other.write_text(f"_BASE_: {BASE}\n")
    load_tool("benchmark").main(
        [
            "--config-file",
            str(BASE),
            "--against",
            str(other),
            "--rounds",
            "1",
            "--dtype",
            "bf16",
            "--threads",
            "1",
            *TINY,
        ]
    )
    assert "wider" in capsys.readouterr().out


def test_variants_share_one_encoder_and_give_one_shape():
    cfg = load_config(BASE, TINY)
    variants = build_models(cfg, ["linear", "segmenter", "diagonal", "mix"], (32, 48))
    images = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        assert {tuple(variant(images).shape) for variant in variants.values()} == {(1, 5, 32, 48)}
    assert len({id(variant.backbone) for variant in variants.values()}) == 1


def test_random_model_needs_no_weight_file():
    cfg = load_config(BASE, [*TINY, "MODEL.VIT.PRETRAINED", "/nowhere.pth"])
    model = build_random_model(cfg)
    assert not model.training
    assert cfg.MODEL.VIT.PRETRAINED == "/nowhere.pth"
