"""SOLVER.FIRST_CONFIG: one command trains two configs, as two commands would."""

import shutil

import pytest
import torch
import yaml

from helpers.processes import run_program
from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.config.first_config import require_no_first_config
from segvit.d2 import load_config
from segvit.engine.launch_options import argument_parser, evaluated_name, parts_of
from segvit.errors import UserError
from segvit.experiments.cached_run import config_to_compare

CONFIG = PROJECT / "configs" / "quick_schedules" / "toy_scenes.yaml"
SHORT = ["SOLVER.MAX_ITER", "2", "SOLVER.IMS_PER_BATCH", "2", "SOLVER.WARMUP_ITERS", "0", "SEED", "3"]
SECOND = {"SOLVER": {"FIRST_CONFIG": "quick_schedules/toy_scenes", "BASE_LR": 0.0005}}


def train_net(datasets, config, *arguments):
    words = ["--config-file", config, *arguments, *SHORT]
    done = run_program(PROJECT / "train_net.py", *words, environment={"DETECTRON2_DATASETS": str(datasets)})
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_config(path, **content):
    path.write_text(yaml.safe_dump({"_BASE_": str(CONFIG), **content}))
    return path


def parts(config, *arguments):
    return parts_of(argument_parser().parse_args(["--config-file", str(config), *map(str, arguments)]))


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("configs") / "second.yaml", **SECOND)


@pytest.fixture(scope="module")
def trained(toy_scenes_root, tmp_path_factory, second):
    folder = tmp_path_factory.mktemp("trained")
    shown = train_net(toy_scenes_root, second, "--output", folder)
    assert shown.count("Segment images:") == 2
    return folder


def weights(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)["model"]


def test_the_second_training_begins_with_the_weights_of_the_first(trained, toy_scenes_root, tmp_path, second):
    train_net(toy_scenes_root, CONFIG, "--output", tmp_path / "a")
    train_net(toy_scenes_root, second, "--weights", tmp_path / "a" / "model_final.pth", "--output", tmp_path / "b")
    for one, two in ((trained / "first", tmp_path / "a"), (trained, tmp_path / "b")):
        expected = weights(two)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(one).items())


def test_each_training_has_its_own_config_and_log(trained):
    first, own = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (trained / "first", trained))
    assert (first["SOLVER"]["BASE_LR"], own["SOLVER"]["BASE_LR"]) == (0.001, 0.0005)
    assert first["SOLVER"]["MAX_ITER"] == own["SOLVER"]["MAX_ITER"] == 2
    assert own["MODEL"]["WEIGHTS"] == str(trained / "first" / "model_final.pth")
    assert own["SOLVER"]["FIRST_CONFIG"] == ""
    logs = [(folder / "log.txt").read_text() for folder in (trained / "first", trained)]
    assert [log.count("Starting training from iteration 0") for log in logs] == [1, 1]
    assert str(trained / "first" / "log.txt") not in logs[1]


def test_a_run_without_its_second_training_resumes_there(trained, toy_scenes_root, tmp_path, second):
    """The first training has ended; what it wrote stays."""
    folder = tmp_path / "run"
    shutil.copytree(trained / "first", folder / "first")
    before = (folder / "first" / "model_final.pth").read_bytes()
    train_net(toy_scenes_root, second, "--resume", "--output", folder)
    assert (folder / "first" / "model_final.pth").read_bytes() == before
    expected = weights(trained)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(folder).items())


def test_a_first_training_that_has_ended_is_left_out(trained, tmp_path, second):
    """Keys that were changed since are of the second one."""
    shutil.copytree(trained / "first", tmp_path / "first")
    (own,) = parts(second, "--resume", "--output", tmp_path, "MODEL.SEGVIT.DICE_WEIGHT", "3.0")
    assert dict(zip(own.opts[::2], own.opts[1::2]))["MODEL.WEIGHTS"] == str(tmp_path / "first" / "model_final.pth")


def test_a_moved_run_resumes_with_the_weights_that_it_recorded(trained, second, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    (own,) = parts(second, "--resume", "--output", moved)
    assert dict(zip(own.opts[::2], own.opts[1::2]))["MODEL.WEIGHTS"] == str(trained / "first" / "model_final.pth")


@pytest.fixture
def script(toy_scenes_root, monkeypatch):
    """train_net.py in this process."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # `seed_all_rng` writes it
    return load_script(PROJECT / "train_net.py")


def runs(script, config, *arguments):
    """Run the script, which ends with an exit code; returns the code."""
    words = ["--config-file", str(config), *arguments, *SHORT]
    with pytest.raises(SystemExit) as stop:
        script.main(script.build_parser().parse_args(words))
    return stop.value.code


def test_overwrite_clears_the_folder_before_the_first_training(script, trained, tmp_path, second, monkeypatch):
    """If it stops there, --resume must not find the old run."""
    folder, left = tmp_path / "run", []
    shutil.copytree(trained, folder)

    def first_run(args, *, is_last):
        left.extend(path.name for path in folder.iterdir())
        raise SystemExit(75)

    monkeypatch.setattr(script, "run", first_run)
    assert runs(script, second, "--output", str(folder), "--overwrite") == 75
    assert sorted(left) == [".lock", "first"]


def test_sigterm_at_the_end_of_the_first_training_stops_the_job(script, tmp_path, second, monkeypatch):
    monkeypatch.setattr(script, "train", lambda *_: ({}, True))
    assert runs(script, second, "--output", str(tmp_path)) == 75
    assert not (tmp_path / "config.yaml").exists()


def test_weights_take_the_place_of_the_first_training(second):
    for arguments in (["MODEL.WEIGHTS", "x.pth"], ["--weights", "x.pth"], ["--eval-only"], ["SOLVER.FIRST_CONFIG", ""]):
        assert len(parts(second, *arguments)) == 1


def test_a_first_config_may_have_one_itself(tmp_path, second):
    third = write_config(tmp_path / "third.yaml", SOLVER={"FIRST_CONFIG": str(second)})
    folders = [part.output for part in parts(third, "--output", tmp_path)]
    assert folders == [tmp_path / "first" / "first", tmp_path / "first", tmp_path]


def test_a_first_model_that_does_not_fit_is_refused_before_it_is_trained(toy_scenes_root, tmp_path):
    wider = write_config(tmp_path / "wider.yaml", MODEL={"SEGVIT": {"HIDDEN_DIM": 48}}, **SECOND)
    words = ["--config-file", wider, "--output", tmp_path / "run", *SHORT]
    done = run_program(PROJECT / "train_net.py", *words, environment={"DETECTRON2_DATASETS": str(toy_scenes_root)})
    assert done.returncode == 2 and not (tmp_path / "run").exists()
    assert "that SOLVER.FIRST_CONFIG trains into" in done.stderr
    assert "first/model_final.pth does not fit the model" in done.stderr and "class_queries" in done.stderr


def test_a_key_that_the_first_config_does_not_read_changes_the_second(tmp_path):
    average = write_config(tmp_path / "average.yaml", SOLVER={**SECOND["SOLVER"], "EMA": {"ENABLED": True}})
    first, own = parts(average, "--output", tmp_path, "SOLVER.EMA.DECAY", "0.9")
    assert "SOLVER.EMA.DECAY" in first.opts and "SOLVER.EMA.DECAY" in own.opts


def test_a_first_config_may_be_relative_to_the_file_that_names_it(tmp_path):
    write_config(tmp_path / "one.yaml")
    two = write_config(tmp_path / "two.yaml", SOLVER={"FIRST_CONFIG": "one.yaml"})
    assert parts(two, "--output", tmp_path)[0].config_file == str(tmp_path / "one.yaml")


def test_a_first_run_has_the_name_of_its_run(tmp_path):
    assert evaluated_name(tmp_path / "mine" / "first") == evaluated_name(tmp_path / "mine/first/model") == "mine_first"


def test_what_cannot_be_trained_first_is_refused(tmp_path, second):
    itself = write_config(tmp_path / "itself.yaml", SOLVER={"FIRST_CONFIG": str(tmp_path / "itself.yaml")})
    broken = write_config(tmp_path / "broken.yaml", SEED="three")
    with pytest.raises(UserError, match=r"itself\.yaml would be trained before itself"):
        parts(itself)
    with pytest.raises(UserError, match=r"SOLVER\.FIRST_CONFIG: config 'nowhere'"):
        parts(CONFIG, "SOLVER.FIRST_CONFIG", "nowhere")
    with pytest.raises(UserError, match=r"SOLVER\.FIRST_CONFIG, of .*second\.yaml: .* SEED"):
        parts(write_config(tmp_path / "second.yaml", SOLVER={"FIRST_CONFIG": str(broken)}))
    with pytest.raises(UserError, match="runs that are compared start anew"):
        config_to_compare(second)
    with pytest.raises(UserError, match=r"SOLVER\.FIRST_CONFIG .* would have no effect: MODEL\.WEIGHTS is 'x.pth'"):
        parts(CONFIG, "SOLVER.FIRST_CONFIG", str(CONFIG), "MODEL.WEIGHTS", "x.pth")


def test_other_commands_say_that_they_train_no_first_config(tmp_path):
    """Whether they would find it or not: the name may be relative to the file that has it."""
    cfg = load_config(write_config(tmp_path / "second.yaml", SOLVER={"FIRST_CONFIG": "one.yaml"}))
    with pytest.raises(UserError, match=r"'one\.yaml' is trained by train_net\.py alone: name its weights"):
        require_no_first_config(cfg, remedy="name its weights")
