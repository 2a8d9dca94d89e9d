"""`load_config`: merging of bases, files and overrides, and errors that name the key or file."""

import pytest

from helpers.repository import CONFIGS
from segvit.config.loading import config_layers
from segvit.d2 import get_segvit_cfg, load_config
from segvit.errors import UserError

BASE = CONFIGS / "Base-SegViT.yaml"


def write(path, text):
    path.write_text(text)
    return path


def test_overrides_replace_values_of_the_file(tmp_path):
    path = write(tmp_path / "own.yaml", f"_BASE_: {BASE}\nSEED: 3\nSOLVER:\n  MAX_ITER: 7\n")
    cfg = load_config(path, ["SEED", "-4", "MODEL.SEM_SEG_HEAD.IN_FEATURES", "('block3',)"])
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES) == (-4, 7, ["block3"])
    assert cfg.SOLVER.IMS_PER_BATCH == 16 and get_segvit_cfg().SOLVER.MAX_ITER != 7
    assert not cfg.is_frozen()


def test_of_several_bases_the_last_one_wins(tmp_path):
    write(tmp_path / "encoder.yaml", "MODEL:\n  VIT:\n    NAME: vit_tiny_patch16_224\nSEED: 5\n")
    path = write(tmp_path / "own.yaml", f"_BASE_: [{BASE}, encoder.yaml]\nVERSION: 2\n")
    cfg = load_config(path)
    assert (cfg.MODEL.VIT.NAME, cfg.SEED, cfg.SOLVER.IMS_PER_BATCH) == ("vit_tiny_patch16_224", 5, 16)
    assert [file.name for file, _ in config_layers(path)] == ["Base-SegViT.yaml", "encoder.yaml", "own.yaml"]
    assert config_layers(path)[1][1] == {"MODEL.VIT.NAME": "vit_tiny_patch16_224", "SEED": 5}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["SOLVER.MAX_ITR", "3"], r"SOLVER\.MAX_ITR \(.*SOLVER\.MAX_ITER\)"),
        (["IMS_PER_BATCH", "4"], r"SOLVER\.IMS_PER_BATCH"),
        (["model.weights", "a.pth"], r"MODEL\.WEIGHTS"),
        (["MODEL.VIT", "a"], r"MODEL\.VIT "),
        (["MODEL.VIT.NAMES", "a", "SEEDS", "1"], r"MODEL\.VIT\.NAMES \(.*NAME\).* SEEDS \(.* SEED\)"),
        (["QQQQQQQQ", "a"], "QQQQQQQQ$"),
        (["SEED"], "SEED "),
        (["MODEL.WEIGHTS", "SEED", "2"], r"MODEL\.WEIGHTS "),
        (["MODEL.WEIGHTS=a.pth"], r"'MODEL\.WEIGHTS a\.pth'"),
        (["SEED", "1", "--eval-only"], "--eval-only .* SEED$"),
        (["SEED", "1", "--num-gpus", "2"], "--num-gpus "),
        (["SOLVER.MAX_ITER", "many"], r"SOLVER\.MAX_ITER .* 'many'"),
    ],
)
def test_wrong_overrides_are_named(opts, message):
    with pytest.raises(ValueError, match=message):
        load_config(BASE, opts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "MODEL:\n  VIT:\n    NAMES: a\n",
            r"own\.yaml: .* MODEL\.VIT\.NAMES \(.*MODEL\.VIT\.NAME\)",
        ),
        (
            "_BASE_: wrong.yaml\n",
            r"wrong\.yaml: .* SOLVR\.BASE_LR \(.*SOLVER\.BASE_LR\)",
        ),
        ("_BASE_: nowhere.yaml\n", r"nowhere\.yaml' .*own\.yaml .*_BASE_"),
        ("SEED: [1\n", r"own\.yaml .*YAML"),
        ("SEED: !!python/object/apply:eval ['1']\n", r"own\.yaml .*YAML"),
        ("", r"own\.yaml .*None"),
        ("SEED: one\nVERSION: 2\n", r"own\.yaml: SEED .*'one'"),
    ],
)
def test_wrong_files_are_named(text, message, tmp_path):
    write(tmp_path / "wrong.yaml", "SOLVR:\n  BASE_LR: 1.0\n")
    path = write(tmp_path / "own.yaml", text)
    with pytest.raises(ValueError, match=message):
        load_config(path)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match=r"'nowhere\.yaml'"):
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
