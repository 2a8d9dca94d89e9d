"""The arguments that all commands share: pairs at the end, former spellings, and what --model means."""

import argparse

import pytest
import torch
from detectron2.modeling import build_model

from segvit.command_line.model_arguments import (
    add_any_model,
    add_recipe,
    add_trained_model,
    config_of,
    model_name,
    predictor_of,
    recipe_config_file,
    trained_config,
)
from segvit.command_line.parser import KEY, CommandParser, add_output, parse_with_output
from segvit.config.loading import CONFIGS
from segvit.d2 import get_segvit_cfg
from segvit.errors import UserError
from segvit.model_folder.packing import pack_checkpoint


@pytest.fixture
def parser():
    parser = CommandParser(former={"--pictures": "--images"})
    parser.add_argument("--images", nargs="+", default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_overrides()
    return parser


def test_pairs_end_the_values_of_an_option_with_several(parser):
    args = parser.parse_args(["--images", "a.png", "IMG.JPG", "MODEL.DEVICE", "cpu", "SEED", "-1"])
    assert args.images == ["a.png", "IMG.JPG"] and args.opts == ["MODEL.DEVICE", "cpu", "SEED", "-1"]
    assert parser.parse_args(["--json", "SOVLER.X", "1"]).opts == ["SOVLER.X", "1"]  # load_config names the nearest key


def test_a_file_with_the_name_of_a_key_is_a_file(parser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "INPUT.JPG").touch()
    assert parser.parse_args(["--images", "INPUT.JPG"]).images == ["INPUT.JPG"]


def test_an_option_after_the_pairs_is_refused(parser, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["SEED", "1", "--json"])
    assert "--json must come before" in capsys.readouterr().err


def test_former_spellings_work_with_one_line_each(parser, capsys):
    args = parser.parse_args(["--pictures", "a.png", "--opts", "SEED", "1"])
    assert args.images == ["a.png"] and args.opts == ["SEED", "1"]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "--images" in lines[0] and "--opts" in lines[1]


def test_every_group_of_keys_is_known():
    for name, value in get_segvit_cfg().items():
        assert KEY.fullmatch(f"{name}.X" if isinstance(value, dict) else name), name


def test_the_former_positional_output(capsys):
    parser = CommandParser()
    parser.add_argument("source")
    add_output(parser, "the folder", former="folder")
    parser.add_overrides()
    assert parse_with_output(parser, ["a", "--output", "b", "SEED", "1"], former="folder").output.name == "b"
    assert not capsys.readouterr().err
    assert parse_with_output(parser, ["a", "b"], former="folder").output.name == "b"
    assert "write --output b" in capsys.readouterr().err
    for words in (["a"], ["a", "b", "--output", "c"]):
        with pytest.raises(SystemExit, match="2"):
            parse_with_output(parser, words, former="folder")


@pytest.fixture
def run(tiny_cfg, tmp_path):
    """The OUTPUT_DIR of a run, with its model folder."""
    torch.manual_seed(0)
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model_best.pth")
    pack_checkpoint(tmp_path / "model_best.pth", tmp_path / "model", cfg=tiny_cfg)
    return tmp_path


def parsed(add, *words):
    parser = CommandParser()
    add(parser)
    parser.add_overrides()
    return parser.parse_args([str(word) for word in words])


def test_a_folder_and_its_run_name_the_same_model(run):
    for folder in (run, run / "model"):
        args = parsed(add_trained_model, "--model", folder, "MODEL.DEVICE", "cpu")
        assert str(run / "model" / "model.safetensors") == trained_config(args).MODEL.WEIGHTS
        assert predictor_of(args).num_classes == 5
        assert recipe_config_file(parsed(add_recipe, "--model", folder)) == run / "model" / "config.yaml"


def test_the_name_of_a_config_is_a_model_without_weights():
    for words in (("--model", "toy_scenes"), ("--config-file", "quick_schedules/toy_scenes")):
        args = parsed(add_any_model, *words)
        assert model_name(args) == words[1] and not config_of(args).MODEL.WEIGHTS
        with pytest.raises(UserError, match="--weights"):
            trained_config(args)
    assert recipe_config_file(parsed(add_recipe, "--model", "toy_scenes")).is_relative_to(CONFIGS)


def test_a_folder_without_a_model_names_what_to_do(run, tmp_path):
    (run / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"pack_model.py .*model_best\.pth"):
        predictor_of(parsed(add_trained_model, "--model", run))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no model folder"):
        trained_config(parsed(add_trained_model, "--model", tmp_path / "empty"))


def test_weights_are_named_once(run):
    args = parsed(add_trained_model, "--model", run, "--weights", run / "model_best.pth")
    for read in (trained_config, predictor_of):
        with pytest.raises(UserError, match="--weights"):
            read(args)


def test_weights_are_not_named_by_a_key_beside_a_folder_or_an_option(run, tiny_cfg):
    key = ["MODEL.WEIGHTS", run / "model_best.pth"]
    (run / "config.yaml").write_text(tiny_cfg.dump())
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS .*model_best\.pth: .*model has weights"):
        predictor_of(parsed(add_trained_model, "--model", run, *key))
    named = ["--config-file", run / "config.yaml", "--weights", run / "model_best.pth"]
    with pytest.raises(UserError, match=r"--weights .* and MODEL\.WEIGHTS"):
        trained_config(parsed(add_trained_model, *named, *key))


def test_a_config_takes_weights(run, tiny_cfg):
    (run / "config.yaml").write_text(tiny_cfg.dump())
    args = parsed(add_trained_model, "--config-file", run / "config.yaml", "--weights", run / "model_best.pth")
    assert isinstance(args, argparse.Namespace)
    assert str(run / "model_best.pth") == trained_config(args).MODEL.WEIGHTS
