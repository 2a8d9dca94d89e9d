"""Configs from files and overrides: what is merged, and what each mistake is told."""

import pytest

from helpers.repository import CONFIGS
from segvit.config.loading import config_layers
from segvit.d2 import get_segvit_cfg, load_config
from segvit.errors import UserError

BASE = CONFIGS / "Base-SegViT.yaml"


def write(path, text):
    path.write_text(text)
    return path


def test_the_file_then_the_overrides(tmp_path):
    path = write(tmp_path / "own.yaml", f"_BASE_: {BASE}\nSEED: 3\nSOLVER:\n  MAX_ITER: 7\n")
    cfg = load_config(path, ["SEED", "-4", "MODEL.SEM_SEG_HEAD.IN_FEATURES", "('block3',)"])
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES) == (-4, 7, ["block3"])
    assert cfg.SOLVER.IMS_PER_BATCH == 16 and get_segvit_cfg().SOLVER.MAX_ITER != 7
    assert not cfg.is_frozen()


def test_several_bases_the_last_one_wins(tmp_path):
    write(tmp_path / "encoder.yaml", "MODEL:\n  VIT:\n    NAME: vit_tiny_patch16_224\nSEED: 5\n")
    path = write(tmp_path / "own.yaml", f"_BASE_: [{BASE}, encoder.yaml]\nVERSION: 2\n")
    cfg = load_config(path)
    assert (cfg.MODEL.VIT.NAME, cfg.SEED, cfg.SOLVER.IMS_PER_BATCH) == ("vit_tiny_patch16_224", 5, 16)
    assert [file.name for file, _ in config_layers(path)] == ["Base-SegViT.yaml", "encoder.yaml", "own.yaml"]
    assert config_layers(path)[1][1] == {"MODEL.VIT.NAME": "vit_tiny_patch16_224", "SEED": 5}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.MAX_ITR", "3"], r"^there is no config key SOLVER\.MAX_ITR \(the nearest is SOLVER\.MAX_ITER\)$"),
        (["IMS_PER_BATCH", "4"], r"the nearest is SOLVER\.IMS_PER_BATCH"),
        (["model.weights", "a.pth"], r"the nearest is MODEL\.WEIGHTS"),
        (["MODEL.VIT", "a"], r"MODEL\.VIT \(that is a group of keys\)"),
        (["MODEL.VIT.NAMES", "a", "SEEDS", "1"], r"MODEL\.VIT\.NAMES \(.*NAME\), nor SEEDS \(the nearest is SEED\)"),
        (["QQQQQQQQ", "a"], "^there is no config key QQQQQQQQ$"),
        (["SEED"], "SEED has no value"),
        (["MODEL.WEIGHTS", "SEED", "2"], r"MODEL\.WEIGHTS has no value"),
        (["MODEL.WEIGHTS=a.pth"], r"write 'MODEL\.WEIGHTS a\.pth', not 'MODEL\.WEIGHTS=a\.pth'"),
        (["SEED", "1", "--eval-only"], "^--eval-only must come before the KEY VALUE pairs, in front of SEED$"),
        (["SEED", "1", "--num-gpus", "2"], "--num-gpus must come before"),
        (["SOLVER.MAX_ITER", "many"], r"^SOLVER\.MAX_ITER takes a whole number such as 40000, not 'many'$"),
    ],
)
def test_wrong_overrides_are_explained(opts, message):
    with pytest.raises(ValueError, match=message):
        load_config(BASE, opts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "MODEL:\n  VIT:\n    NAMES: a\n",
            r"own\.yaml: there is no config key MODEL\.VIT\.NAMES \(.*MODEL\.VIT\.NAME\)",
        ),
        (
            "_BASE_: wrong.yaml\n",
            r"wrong\.yaml: there is no config key SOLVR\.BASE_LR \(the nearest is SOLVER\.BASE_LR\)",
        ),
        ("_BASE_: nowhere.yaml\n", r"nowhere\.yaml' does not exist; .*own\.yaml names it as _BASE_"),
        ("SEED: [1\n", r"own\.yaml is not plain YAML"),
        ("SEED: !!python/object/apply:eval ['1']\n", r"own\.yaml is not plain YAML"),
        ("", r"own\.yaml must hold keys and values, not None"),
        ("SEED: one\nVERSION: 2\n", r"own\.yaml: SEED takes a whole number such as -1, not 'one'$"),
    ],
)
def test_wrong_files_are_explained(text, message, tmp_path):
    write(tmp_path / "wrong.yaml", "SOLVR:\n  BASE_LR: 1.0\n")
    path = write(tmp_path / "own.yaml", text)
    with pytest.raises(ValueError, match=message):
        load_config(path)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"config file 'nowhere\.yaml' does not exist"):
        load_config("nowhere.yaml")


@pytest.mark.parametrize("is_override", [False, True])
def test_a_removed_key_is_explained_unless_it_has_its_old_default(is_override, tmp_path):
    """Configs saved by older versions hold every key, with its default."""

    def load(value):
        path = tmp_path / "config.yaml"
        key = "MODEL.SEGVIT.CONTINUAL.SHARED_DECODER"
        path.write_text(
            "VERSION: 2\n" if is_override else f"MODEL: {{SEGVIT: {{CONTINUAL: {{SHARED_DECODER: {value}}}}}}}"
        )
        return load_config(path, [key, value] if is_override else [])

    assert "SHARED_DECODER" not in load("False").MODEL.SEGVIT.CONTINUAL
    with pytest.raises(UserError, match="SHARED_DECODER was removed"):
        load("True")
