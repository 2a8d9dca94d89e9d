"""An output folder belongs to one run: a lock, a refusal with the remedy, and a config.yaml that is written once."""

import json
import subprocess
import sys

import pytest
import yaml

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.toy_run import toy_run_cfg
from segvit.engine import run_folder
from segvit.errors import UserError

SHORT = {"SOLVER__MAX_ITER": 2, "SOLVER__WARMUP_ITERS": 0, "SOLVER__CHECKPOINT_PERIOD": 1, "TEST__EVAL_PERIOD": 0}


@pytest.fixture
def train_net(toy_scenes_root, tmp_path, monkeypatch):
    """Call the program's `command` in this process, on a tiny config, with OUTPUT_DIR tmp_path/run."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # `seed_all_rng` writes it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    program = load_script(PROJECT / "train_net.py")
    config = tmp_path / "tiny.yaml"
    config.write_text(toy_run_cfg(tmp_path / "run", **SHORT).dump())

    def call(*words):
        program.command(["--config-file", str(config), *map(str, words)])

    return call


def contents(folder):
    """Of all files but the log, which this process still has open."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "log.txt"}


def iterations(folder):
    return [json.loads(line)["iteration"] for line in (folder / "metrics.json").read_text().splitlines()]


def test_a_second_run_in_a_folder_is_refused_with_the_remedy(train_net, tmp_path, capsys):
    train_net()
    before = contents(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        train_net("SOLVER.BASE_LR", "0.1")
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert all(word in message for word in ("OUTPUT_DIR", "--resume", "--overwrite"))
    assert contents(tmp_path / "run") == before


def test_overwrite_starts_anew_and_says_what_it_deletes(train_net, tmp_path, capsys):
    train_net()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    count = len(iterations(tmp_path / "run"))
    train_net("--overwrite", "SOLVER.BASE_LR", "0.1")
    assert len(iterations(tmp_path / "run")) == count
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["SOLVER"]["BASE_LR"] == 0.1
    assert "model_final.pth" in capsys.readouterr().out


def test_overwrite_keeps_the_weights_that_the_run_begins_with(train_net, tmp_path, capsys):
    train_net()
    before = contents(tmp_path / "run")
    for name in ("model_final.pth", "model/model.safetensors"):
        with pytest.raises(SystemExit):
            train_net("--overwrite", "MODEL.WEIGHTS", tmp_path / "run" / name)
        assert f"--overwrite would delete MODEL.WEIGHTS {tmp_path / 'run' / name}" in capsys.readouterr().err
    assert contents(tmp_path / "run") == before


def test_resuming_and_evaluating_leave_config_yaml_as_it_is(train_net, tmp_path):
    train_net()
    config = (tmp_path / "run" / "config.yaml").read_text()
    train_net("--resume", "SOLVER.MAX_ITER", "3")
    train_net("--eval-only", "MODEL.WEIGHTS", tmp_path / "run" / "model_final.pth", "SEED", "9")
    assert (tmp_path / "run" / "config.yaml").read_text() == config


def test_the_config_keeps_the_pretrained_encoder(train_net, tmp_path, monkeypatch):
    """A run resumed from its checkpoint does not need the encoder's weights, but its config still names them."""
    train_net()
    path = tmp_path / "run" / "config.yaml"
    path.write_text(path.read_text().replace("PRETRAINED: ''", "PRETRAINED: encoder.pth"))
    train_net("--eval-only", "MODEL.WEIGHTS", tmp_path / "run" / "model_final.pth")
    assert "PRETRAINED: encoder.pth" in path.read_text()


def test_a_run_that_has_not_trained_may_start_again(train_net, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("of a run that ended at once")
    (tmp_path / "run" / "metrics.json").touch()
    train_net()
    assert "SOLVER" in (tmp_path / "run" / "config.yaml").read_text()


def test_resuming_without_a_checkpoint_does_not_mix_metrics(train_net, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text('{"iteration": 19, "total_loss": 1.0}\n')
    train_net("--resume")
    assert 19 not in iterations(tmp_path / "run")


def test_overwrite_does_not_go_with_resume(train_net, capsys):
    with pytest.raises(SystemExit):
        train_net("--overwrite", "--resume")
    assert "--overwrite" in capsys.readouterr().err


HOLD = """
import sys, time
from segvit.engine.run_folder import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_in_use_is_refused_until_its_process_dies(train_net, tmp_path, capsys):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline().strip() == "held"
        with pytest.raises(UserError, match=f"in use by process {holder.pid}"), run_folder.locked(tmp_path / "run"):
            pass
        with pytest.raises(SystemExit):
            train_net()
        assert "in use" in capsys.readouterr().err
    finally:
        holder.kill()
        holder.communicate()
    train_net()


def test_the_terminal_shows_little_and_the_log_has_all_without_color(train_net, tmp_path, capsys):
    train_net()
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) < 40
    assert "detectron2._C" not in shown.out + (tmp_path / "run" / "log.txt").read_text()
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "\x1b[" not in log and "BASE_LR" in log
    assert "training:" in shown.err  # the progress bar
    last = shown.out.splitlines()[-1]
    assert "demo.py" in last and f"--model {tmp_path / 'run' / 'model'}" in last
    assert "mIoU" in shown.out


def test_the_demo_does_not_enter_the_folder_of_another_run(train_net, tmp_path, capsys):
    train_net()
    before = contents(tmp_path / "run")
    demo = load_script(PROJECT / "demo" / "toy_demo.py")
    with pytest.raises(SystemExit) as ended:
        demo.main(["--output", str(tmp_path / "run"), "SOLVER.MAX_ITER", "2"])
    assert ended.value.code == 2 and "another run" in capsys.readouterr().err
    assert contents(tmp_path / "run") == before


def test_an_evaluation_of_the_own_run_replaces_only_evaluation_results(train_net, tmp_path, capsys):
    run = tmp_path / "run"
    train_net()
    before = contents(run)
    train_net("--eval-only", "MODEL.WEIGHTS", run / "model_final.pth", "TEST.SAVE_PREDICTIONS", "True")
    stale = run / "predictions" / "labels" / "of_another_dataset.png"
    stale.touch()
    capsys.readouterr()
    train_net("--eval-only", "MODEL.WEIGHTS", run / "model_final.pth", "TEST.SAVE_PREDICTIONS", "True")
    assert not stale.exists() and len(list(run.glob("predictions/labels/**/*.png"))) == 3
    assert "replace earlier ones" in capsys.readouterr().out
    unchanged = {name: content for name, content in contents(run).items() if name != "sem_seg_evaluation.json"}
    assert unchanged == {name: content for name, content in before.items() if name != "sem_seg_evaluation.json"}


def test_an_evaluation_of_another_checkpoint_in_the_folder_of_a_run_is_refused(train_net, tmp_path, capsys):
    train_net()
    other = tmp_path / "other.pth"
    other.write_bytes((tmp_path / "run" / "model_final.pth").read_bytes())
    before = contents(tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        train_net("--eval-only", "MODEL.WEIGHTS", other)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert all(word in message for word in ("OUTPUT_DIR", "MODEL.WEIGHTS", "other.pth"))
    assert contents(tmp_path / "run") == before
    train_net("--eval-only", "MODEL.WEIGHTS", other, "OUTPUT_DIR", tmp_path / "elsewhere")
