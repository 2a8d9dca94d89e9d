"""gpu_proof.py without a GPU: arguments, time limits, failed checks and the tables of its report."""

import time
from pathlib import Path

import pytest
import torch

import gpu_proof
from gpu import toy_runs
from gpu.agreement import check_kind, relative_error
from gpu.checks import Check, Part, run_parts
from gpu.kinds import KINDS, small_config
from gpu.report import TABLES, markdown, write_report
from gpu.step_profile import union_length
from gpu.toy_runs import ToyRuns
from gpu.training_speed import MODELS


def results_of(*parts):
    results = {}
    run_parts(parts, record=lambda part, check, values: results.setdefault(part, {}).update({check: values}))
    return results


def test_without_a_gpu_it_exits_with_2(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu_proof.main(["--output", str(tmp_path / "report")])
    assert "needs a CUDA GPU" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_unknown_part_is_refused():
    with pytest.raises(SystemExit):
        gpu_proof.build_parser().parse_args(["--parts", "everything"])
    assert gpu_proof.build_parser().parse_args(["--parts", "profile"]).parts == ["profile"]


def test_each_part_has_a_time_limit_and_a_table():
    assert set(gpu_proof.SECONDS) == set(gpu_proof.QUICK) == set(TABLES)
    assert sum(gpu_proof.SECONDS.values()) == 480


def test_a_failed_check_is_recorded_and_the_others_go_on():
    def fail():
        raise RuntimeError("broken")

    checks = [Check("first", fail), Check("second", lambda: {"figure": 1}), Check("third", lambda: {"ok": False})]
    first, second, third = results_of(Part("part", 10, lambda: checks))["part"].values()
    assert not first["ok"] and first["error"] == "RuntimeError: broken" and "in fail" in first["traceback"]
    assert second["ok"] and second["figure"] == 1
    assert not third["ok"]


def test_a_part_that_cannot_be_built_is_a_failed_check():
    def build():
        raise ImportError("no library")

    results = results_of(Part("broken", 1, build), Part("sound", 1, lambda: [Check("check", dict)]))
    assert "no library" in results["broken"]["start"]["error"]
    assert results["sound"]["check"]["ok"]


def test_a_slow_check_is_stopped_and_the_next_part_has_its_time():
    slow = Part("slow", 0.2, lambda: [Check("sleeping", lambda: time.sleep(30) or {}), Check("late", dict)])
    results = results_of(slow, Part("next", 5, lambda: [Check("check", dict)]))
    assert "not done" in results["slow"]["sleeping"]["skipped"]
    assert "over" in results["slow"]["late"]["skipped"]
    assert results["next"]["check"]["ok"]


def test_the_report_has_a_row_for_each_check_and_names_failures(tmp_path):
    training = {"float32_ms": 100.0, "float32_gib": 3.25, "bfloat16_ms": 20.5}
    results = {
        "training": {"ViT-B 512": {"ok": True, **training}, "ViT-L 640": {"ok": False, "error": "OutOfMemoryError"}},
        "inference": {"linear": {"ok": True, "float32_1": 50.0, "float32_16": 400.0}},
    }
    write_report(tmp_path, {"gpu": "a card", "torch": "2"}, results)
    lines = (tmp_path / "gpu_proof.md").read_text().splitlines()
    assert lines[0] == "gpu a card, torch 2"
    assert "| ViT-B 512 | 100 (3.25) |  | 20.5 |" in lines
    assert "| linear | 50 / 400 |  |  |  |" in lines
    assert "- training, ViT-L 640: OutOfMemoryError" in lines
    assert '"a card"' in (tmp_path / "gpu_proof.json").read_text()
    assert markdown({}, {"agreement": {"plain": {"ok": True, "loss_error": 3.2e-7}}}).count("3e-07") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_small_config_loads(kind):
    assert small_config(kind).MODEL.DEVICE == "cpu"


def test_full_models_are_shipped_configs():
    for file, _, _ in MODELS.values():
        assert (gpu_proof.Path(gpu_proof.__file__).parents[1] / "configs" / "ade20k" / f"{file}.yaml").is_file()


@pytest.mark.slow
def test_a_kind_agrees_with_itself_on_the_cpu():
    values = check_kind("linear head", device="cpu")
    assert values["ok"] and values["loss_error"] == 0 and values["labels_equal"] == 1


def test_relative_error_and_length_of_a_union_of_intervals():
    assert relative_error(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])) == pytest.approx(2.0)
    assert union_length([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4


def test_torchrun_is_not_run_where_nccl_cannot_start(tmp_path):
    """And its process ends together with those that it has started."""
    runs = ToyRuns(tmp_path, iterations=60)
    runs.run("NCCL", ["-c", "raise SystemExit('first\\nno driver')"])
    started = "print(subprocess.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)"
    runs.run("torchrun", ["-c", f"import subprocess, time; {started}; time.sleep(60)"])
    while not runs.log("torchrun").endswith("\n"):
        time.sleep(0.02)
    values = runs.torchrun()
    assert not values["ok"] and "NCCL" in values["skipped"] and values["skipped"].endswith("no driver")
    deadline = time.monotonic() + 30
    while runs_on(runs.log("torchrun").strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def runs_on(process_id):
    """Whether a process has not ended; one that has may be listed until its parent asks for its exit code."""
    status = Path("/proc", process_id, "status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def test_nccl_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_runs, "NCCL_SECONDS", 0.1)
    runs = ToyRuns(tmp_path, iterations=60)
    runs.run("NCCL", ["-c", "import time; time.sleep(60)"])
    assert "no answer" in runs.nccl_error()
    assert runs.processes["NCCL"].poll() is not None
    runs.run("NCCL", ["-c", "pass"])
    monkeypatch.setattr(toy_runs, "NCCL_SECONDS", 60)
    assert runs.nccl_error() == ""
