"""compare_backbones.py: its table, JSON and plot, reuse of finished runs, and the config of each encoder."""

import json

import pytest
from PIL import Image

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.short_runs import SHORT_RUN, overrides
from segvit.analysis.from_config import build_random_model
from segvit.d2 import load_config
from segvit.experiments.backbone_comparison import BackboneChoice, adapt_config, evaluate_backbone
from segvit.experiments.cached_run import merge

TOY = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
ADE20K = PROJECT / "configs" / "ade20k" / "segvit_vit_base_512.yaml"
VIT, BEIT = "vit_tiny_patch16_224", "beit_base_patch16_224"
TINY = overrides(SHORT_RUN | {"MODEL.VIT.STEM": "linear", "SOLVER.MAX_ITER": "2", "TEST.EVAL_PERIOD": "1"})


pytestmark = pytest.mark.usefixtures("toy_scenes")


def run_tool(output, *backbones, opts=TINY, flags=()):
    tool = load_script(PROJECT / "tools" / "compare_backbones.py")
    return tool.main(["--config-file", str(TOY), "--output", str(output), *flags, "--backbones", *backbones, *opts])


def read_results(output):
    return json.loads((output / "comparison.json").read_text())


def test_finished_runs_are_reused_and_failures_reported(tmp_path, capsys):
    """The second call has one encoder more, whose name is unknown."""
    output = tmp_path / "comparison"
    assert run_tool(output, VIT, BEIT) == 0
    first = read_results(output)
    assert [backbone["name"] for backbone in first["backbones"]] == [VIT, BEIT]
    assert (first["iterations"], first["seed"], first["frozen"], first["failures"]) == (2, 7, False, {})
    for backbone in first["backbones"]:
        assert backbone["iterations"] == [1, 2] and len(backbone["miou"]) == 2
        assert backbone["miou_final"] == backbone["miou"][-1] <= backbone["miou_best"] == max(backbone["miou"])
        assert backbone["params"] > 1000 and backbone["macs"] > 1e6 and backbone["minutes"] > 0
    with Image.open(output / "comparison.png") as plot:
        assert min(plot.size) > 300
    printed = capsys.readouterr().out
    assert (output / "comparison.txt").read_text().strip() in printed
    assert f"{BEIT}: MODEL.VIT.KEEP_PREFIX_TOKENS true" in printed
    times = {path: path.stat().st_mtime_ns for path in output.rglob("result.json")}
    assert len(times) == 2

    assert run_tool(output, VIT, "vit_nothing", BEIT) == 1
    second = read_results(output)
    assert second["backbones"] == first["backbones"]
    assert {path: path.stat().st_mtime_ns for path in output.rglob("result.json")} == times
    assert "'vit_nothing' is not a timm model" in second["failures"]["vit_nothing"]
    assert "vit_nothing: MODEL.VIT.NAME 'vit_nothing'" in capsys.readouterr().out


def test_frozen_encoders_are_compared(tmp_path):
    assert run_tool(tmp_path, VIT, flags=["--frozen"]) == 0
    assert read_results(tmp_path)["frozen"]
    assert "FROZEN: true" in (tmp_path / VIT / "config.yaml").read_text()


def test_the_folder_of_another_config_is_refused(tmp_path):
    assert run_tool(tmp_path, VIT) == 0
    assert run_tool(tmp_path, VIT, opts=[*TINY, "SOLVER.BASE_LR", "0.5"]) == 1
    assert "another config: choose another --output" in read_results(tmp_path)["failures"][VIT]


def test_runs_are_repeatable_and_resumed(tmp_path):
    cfg = merge(load_config(TOY, TINY), {"SOLVER.CHECKPOINT_PERIOD": 1})
    results = [evaluate_backbone(cfg, BackboneChoice(VIT), tmp_path / name) for name in ("first", "second")]
    assert results[0].miou == results[1].miou
    (tmp_path / "first" / "result.json").unlink()
    (tmp_path / "first" / "last_checkpoint").write_text("model_0000000.pth")
    assert evaluate_backbone(cfg, BackboneChoice(VIT), tmp_path / "first").iterations == [1, 2]


@pytest.mark.parametrize(
    ("text", "choice", "folder"),
    [
        (VIT, BackboneChoice(VIT), VIT),
        (f"{VIT}:augreg_in21k", BackboneChoice(VIT, "augreg_in21k"), f"{VIT}-augreg_in21k"),
        (f"{VIT}:a/b.pth", BackboneChoice(VIT, "a/b.pth"), f"{VIT}-a-b.pth"),
    ],
)
def test_an_encoder_is_named_with_an_optional_weight_tag_or_file(text, choice, folder):
    assert BackboneChoice.parse(text) == choice
    assert (str(choice), choice.folder_name) == (text, folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([VIT, VIT], "each once"),
        (["SOLVER.MAX_ITER", "2"], "--backbones"),
        ([VIT, "SOLVER.NOTHING", "2"], "SOLVER.NOTHING"),
        ([VIT, "DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
        ([VIT, "MODEL.BACKBONE.NAME", "HierarchicalViT"], "set it to 'PlainViT'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_tool(tmp_path, *arguments, opts=[])
    assert message in capsys.readouterr().err


def test_a_deeper_encoder_gets_its_own_stages_and_pixel_statistics():
    """Stages at the same relative depth; statistics in the channel order of INPUT.FORMAT."""
    cfg = load_config(ADE20K)
    overrides = adapt_config(cfg, BackboneChoice("vit_large_patch14_clip_224", "openai"))
    assert overrides["MODEL.VIT.OUT_INDICES"] == [11, 15, 23]
    assert overrides["MODEL.SEM_SEG_HEAD.IN_FEATURES"] == ["block23", "block15", "block11"]
    assert overrides["MODEL.PIXEL_MEAN"] == pytest.approx([122.771, 116.746, 104.094])
    model = build_random_model(merge(cfg, overrides), device="meta")
    assert list(model.backbone.output_shape()) == ["block11", "block15", "block23"]
    flipped = adapt_config(merge(cfg, {"INPUT.FORMAT": "BGR"}), BackboneChoice("vit_large_patch14_clip_224", "openai"))
    assert flipped["MODEL.PIXEL_MEAN"] == overrides["MODEL.PIXEL_MEAN"][::-1]


def test_an_encoder_of_another_family_gets_its_own_prefix_tokens_and_decay_patterns():
    cfg = load_config(TOY, TINY)
    assert set(adapt_config(cfg, BackboneChoice(VIT))) == {"SOLVER.NO_WEIGHT_DECAY"}
    overrides = adapt_config(cfg, BackboneChoice(BEIT))
    assert overrides["MODEL.VIT.KEEP_PREFIX_TOKENS"] is True
    assert overrides["SOLVER.NO_WEIGHT_DECAY"] == ["*.bias", "*norm*", "*.class_queries.*"]


def test_an_encoder_with_fewer_blocks_than_stages_is_refused():
    cfg = merge(load_config(ADE20K), {"MODEL.VIT.OUT_INDICES": [9, 10, 11]})
    with pytest.raises(ValueError, match=r"6 blocks .* 3 stages"):
        adapt_config(cfg, BackboneChoice("test_vit"))
