"""compare_heads.py: its table, JSON and plot, reuse of finished runs, the config of each head, and errors."""

import json

import pytest
from PIL import Image

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.short_runs import SHORT_RUN, overrides
from segvit.analysis.from_config import build_random_model
from segvit.experiments.head_comparison import HEADS, head_config, shared_config
from segvit.visualization.curves import SpreadCurve

TOY = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
CAMVID = PROJECT / "configs" / "camvid" / "segvit_scratch_320x240_detail.yaml"
ADE20K = PROJECT / "configs" / "ade20k" / "segvit_vit_base_512.yaml"
TINY = overrides(SHORT_RUN | {"MODEL.VIT.STEM": "linear", "SOLVER.MAX_ITER": "2", "TEST.EVAL_PERIOD": "1"})
TOOL = load_script(PROJECT / "tools" / "compare_heads.py")


def run_tool(output, *words, opts=TINY):
    return TOOL.main(["--config-file", str(TOY), "--output", str(output), *words, *opts])


def read_results(output):
    return json.loads((output / "comparison.json").read_text())


def test_every_head_trains_and_a_second_call_only_draws(toy_scenes, tmp_path, capsys):
    assert run_tool(tmp_path) == 0
    results = read_results(tmp_path)
    assert [head["name"] for head in results["heads"]] == ["linear", "segmenter", "eomt", "atm", "atm_detail"]
    assert (results["iterations"], results["seeds"], results["failures"]) == (2, [7], {})
    for head in results["heads"]:
        (run,) = head["runs"].values()
        assert run["iterations"] == [1, 2] and len(run["miou"]) == len(run["boundary_ious"]) == 2
        assert run["boundary_iou"] == run["boundary_ious"][-1] and head["cpu_minutes"] > 0
    printed = capsys.readouterr().out
    assert "CPU minutes" in printed and (tmp_path / "comparison.txt").read_text().strip() in printed
    with Image.open(tmp_path / "comparison.png") as plot:
        assert plot.width > 2 * plot.height
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(times) == len(HEADS)

    # One more seed of one head: its mean and deviation.
    assert run_tool(tmp_path, "--heads", "eomt", "--seeds", "7", "8") == 0
    (eomt,) = read_results(tmp_path)["heads"]
    assert list(eomt["runs"]) == ["7", "8"] and eomt["miou_final"]["deviation"] is not None
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_heads_differ_in_nothing_but_the_head():
    """Detail of the recipe is kept; all encoders have the same blocks, those of EoMT's way partly in its head."""
    cfg = shared_config(CAMVID, ["MODEL.SEGVIT.DETAIL.DIM", "32"])
    configs = {head: head_config(cfg, head) for head in HEADS}
    assert {configs[head].MODEL.SEGVIT.DETAIL.SOURCE for head in ("linear", "segmenter", "eomt", "atm")} == {"none"}
    assert configs["atm_detail"].MODEL.SEGVIT.DETAIL.DIM == 32 and configs["atm_detail"].TEST.BOUNDARY_IOU
    names = {
        head: [name for name, _ in build_random_model(config, device="meta").named_parameters()]
        for head, config in configs.items()
    }
    encoder = [name for name in names["atm"] if name.startswith("backbone.")]
    for head in ("linear", "segmenter", "atm_detail"):
        assert [name for name in names[head] if name.startswith("backbone.")] == encoder
    moved = {f"backbone.encoder.blocks.{4 + i}": f"sem_seg_head.decoder.blocks.{i}" for i in range(2)}
    for name in encoder:
        expected = next((name.replace(*pair) for pair in moved.items() if name.startswith(f"{pair[0]}.")), name)
        assert expected in names["eomt"]
    assert "*.queries.*" in configs["eomt"].SOLVER.NO_WEIGHT_DECAY
    for key in ("DATASETS", "INPUT", "TEST"):
        assert len({configs[head][key].dump() for head in HEADS}) == 1


def test_queries_join_the_last_three_of_twelve_blocks():
    config = head_config(shared_config(ADE20K, ["MODEL.VIT.PRETRAINED", ""]), "eomt")
    assert config.MODEL.VIT.OUT_INDICES == [8] and config.SOLVER.DECODER_LR_MULTIPLIER == 1
    assert head_config(shared_config(ADE20K, []), "linear").MODEL.SEM_SEG_HEAD.IN_FEATURES == ["block11"]


def test_a_curve_is_the_mean_and_deviation_over_seeds():
    assert SpreadCurve.of([1.0, 2.0], [[10.0, 20.0], [14.0, 20.0]]) == SpreadCurve(
        [1.0, 2.0], [12.0, 20.0], [pytest.approx(8**0.5), 0.0]
    )
    assert SpreadCurve.of([1.0], [[10.0]]).deviations == [0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", "atm", "mask2former"], "--heads mask2former"),
        (["--heads", "SOLVER.MAX_ITER", "2"], "--heads"),
        (["--seeds", "-1"], "--seeds"),
        (["MODEL.BACKBONE.NAME", "HierarchicalViT"], "'PlainViT'"),
        (["MODEL.VIT.REDUCTION", "shrunk", "MODEL.VIT.REDUCTION_BLOCK", "1"], "MODEL.VIT.REDUCTION"),
        (["SOLVER.ACCUM_STEPS", "2"], "SOLVER.ACCUM_STEPS 2"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_tool(tmp_path, *arguments, opts=[])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
