"""run_ablations.py: every ablation trains, the costs of all, and the tool's table, seeds, reuse and errors."""

import json

import pytest
import torch

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.short_runs import SHORT_RUN, overrides
from segvit.analysis import count_macs, count_params
from segvit.analysis.from_config import build_random_model
from segvit.config.loading import config_layers
from segvit.d2 import load_config
from segvit.d2.solver import build_optimizer
from segvit.experiments.cached_run import RunResult
from segvit.experiments.seeded_runs import SeededRuns, Spread

CONFIGS = PROJECT / "configs" / "ablations"
ON_TOY_SCENES = CONFIGS / "on_toy_scenes.yaml"
TINY = overrides(SHORT_RUN | {"SOLVER.MAX_ITER": "4", "TEST.EVAL_PERIOD": "2", "TEST.BOUNDARY_IOU": "True"})

TOOL = load_script(PROJECT / "tools" / "run_ablations.py")
NAMES = TOOL.chosen(list(TOOL.GROUPS))
EACH_ABLATION = pytest.mark.parametrize("name", NAMES)


def run_tool(output, *words, opts=TINY):
    return TOOL.main(["--on", str(ON_TOY_SCENES), "--output", str(output), *words, *opts])


def read_results(output):
    return json.loads((output / "ablations.json").read_text())


def test_every_config_is_in_a_group():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == {*NAMES, ON_TOY_SCENES.stem}
    assert not {*NAMES} & {*TOOL.GROUPS}


@EACH_ABLATION
def test_every_ablation_trains_all_its_parameters(name, make_input):
    torch.manual_seed(0)
    cfg = load_config(CONFIGS / f"{name}.yaml", TINY, shared=True)
    model = build_random_model(cfg).train()
    before = [parameter.clone() for parameter in model.parameters()]
    losses = model([make_input(32, 48), make_input(30, 40, seed=1)])
    assert losses and all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    build_optimizer(cfg, model).step()
    assert any(not torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@EACH_ABLATION
def test_keys_of_other_data_and_of_the_ablation_do_not_overlap(name):
    """`--on` replaces data and schedule, and overrides replace keys of both."""
    base = config_layers(CONFIGS / "atm_mask.yaml")
    own = {key for _, layer in config_layers(CONFIGS / f"{name}.yaml")[len(base) - 1 :] for key in layer}
    replaced = {key for _, layer in config_layers(ON_TOY_SCENES) for key in layer}
    assert replaced and not own & replaced
    cfg = TOOL.ablation_config(CONFIGS / f"{name}.yaml", on=ON_TOY_SCENES, opts=["SOLVER.MAX_ITER", "7"])
    assert cfg.DATASETS.TEST == ("toy_scenes_sem_seg_val",) and cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 10
    assert cfg.SOLVER.MAX_ITER == 7


def counts(name):
    cfg = load_config(CONFIGS / f"{name}.yaml")
    model = build_random_model(cfg, device="meta")
    return count_params(model.network)["total"], count_macs(model.network, tuple(cfg.MODEL.VIT.IMG_SIZE))["total"]


def test_parameters_and_macs_follow_the_parts_of_each_ablation():
    costs = {name: counts(name) for name in NAMES}
    params = {name: cost[0] for name, cost in costs.items()}
    macs = {name: cost[1] for name, cost in costs.items()}
    assert params["per_pixel_ce"] < params["atm_ce"] == params["atm_mask"] < params["levels_2_5"]
    assert params["levels_2_5"] < params["levels_2_3_5"] == params["three_atm_last_level"] < params["levels_0_2_3_5"]
    assert params["qd"] == params["atm_mask"] < params["qd_qu_nearest"] == params["qd_nearest_qkv"]
    assert params["qd_nearest_qkv"] < params["qd_conv_q"]
    assert macs["qd"] < macs["qd_qu"] < macs["atm_mask"] and macs["eqd_qu"] < macs["atm_mask"]
    assert macs["qd"] < macs["qd_nearest_qkv"] < macs["qd_qu_nearest"] < macs["qd_conv_q"]


def test_a_second_call_trains_only_the_missing_seeds(toy_scenes, tmp_path, capsys):
    """Both calls write a table and a JSON."""
    assert run_tool(tmp_path, "--run", "atm_ce", "qd", "--seeds", "3", "4") == 0
    first, printed = read_results(tmp_path), capsys.readouterr().out
    assert [result["name"] for result in first["ablations"]] == ["atm_ce", "qd"]
    assert (first["iterations"], first["seeds"], first["failures"]) == (4, [3, 4], {})
    for result in first["ablations"]:
        runs = list(result["runs"].values())
        assert list(result["runs"]) == ["3", "4"] and all(run["iterations"] == [2, 4] for run in runs)
        assert result["miou_final"]["mean"] == pytest.approx(sum(run["miou_final"] for run in runs) / 2)
        assert result["miou_best"]["mean"] >= result["miou_final"]["mean"] and result["miou_best"]["deviation"] >= 0
        assert result["minutes"] > 0 and 0 <= result["boundary_iou"]["mean"] <= 100
        assert result["params"] > 1000 and result["macs"] > 1e5 and result["seconds_per_iteration"] > 0
        row = next(line for line in printed.splitlines() if line.startswith(f"{result['name']} "))
        assert f"{result['params'] / 1e6:.2f}" in row and "±" in row
    assert (tmp_path / "ablations.txt").read_text().strip() in printed
    assert "[1/4] atm_ce, seed 3" in printed
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    assert len(times) == 4

    # Another seed, and a run that was interrupted between its end and its result.
    interrupted = tmp_path / "qd" / "seed4"
    (interrupted / "result.json").unlink()
    assert run_tool(tmp_path, "--run", "atm_ce", "qd", "--seeds", "4", "5") == 0
    second = read_results(tmp_path)
    assert second["ablations"][0]["runs"]["4"] == first["ablations"][0]["runs"]["4"]
    assert second["ablations"][1]["runs"]["4"]["miou"] == first["ablations"][1]["runs"]["4"]["miou"]
    untouched = {path: time for path, time in times.items() if path.parent != interrupted}
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched


def test_a_failed_run_is_reported_and_the_others_go_on(toy_scenes, tmp_path, capsys):
    assert run_tool(tmp_path, "--run", "qd") == 0
    assert run_tool(tmp_path, "--run", "per_pixel_ce", "qd", opts=[*TINY, "SOLVER.NO_WEIGHT_DECAY", "['*q']"]) == 1
    content = read_results(tmp_path)
    assert content["ablations"] == []
    assert "no parameter matches ['*q']" in content["failures"]["per_pixel_ce, seed 1"]
    assert "another config: choose another --output" in content["failures"]["qd, seed 1"]
    assert "per_pixel_ce, seed 1: SOLVER.NO_WEIGHT_DECAY" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "decoders"], "--run decoders"),
        (["--run", "SOLVER.MAX_ITER", "2"], "--run"),
        (["--seeds", "1", "-2"], "--seeds"),
        (["--seeds", "one"], "--seeds"),
        (["--on", "nowhere.yaml"], "'nowhere.yaml'"),
        (["SOLVER.NOTHING", "2"], "SOLVER.NOTHING"),
        (["DATASETS.TEST", "()"], "DATASETS.TEST is empty"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        TOOL.main(["--output", str(tmp_path), *arguments])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_ablation_in_two_groups_is_run_once():
    assert TOOL.chosen(["decoder", "levels", "atm_mask"]).count("atm_mask") == 1
    assert TOOL.chosen(["qd", "sampling"]) == ["qd", "qd_conv_q", "qd_nearest_qkv", "qd_qu_nearest"]


def test_results_are_the_mean_and_deviation_over_seeds():
    assert str(Spread.of([41.26])) == "41.3"
    assert str(Spread.of([40.0, 42.0, 44.0])) == "42.0 ± 2.0"
    runs = {
        seed: RunResult(
            params=1,
            macs=1,
            miou_final=seed,
            miou_best=seed + 1,
            seconds_per_iteration=seconds,
            minutes=1.0,
            iterations=[1],
            miou=[seed],
        )
        for seed, seconds in ((1, None), (2, 0.5), (3, 0.7))
    }
    result = SeededRuns("any", runs)
    assert (result.miou_final.mean, result.miou_best.mean) == (2, 3)
    assert result.seconds_per_iteration == pytest.approx(0.6)
