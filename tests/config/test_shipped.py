"""`find_config`: a config file by its path or by the name of a shipped config."""

import pytest

from segvit.config.loading import CONFIGS, find_config, load_config

CAMVID = CONFIGS / "camvid" / "segvit_scratch_320x240.yaml"


@pytest.mark.parametrize(
    "name", [CAMVID, str(CAMVID), "segvit_scratch_320x240_shrunk_pp", "camvid/segvit_scratch_320x240.yaml"]
)
def test_a_config_is_found_by_path_and_by_name(name):
    path = find_config(name)
    assert path.is_file() and path.stem == str(name).removesuffix(".yaml").split("/")[-1]


def test_a_file_in_the_working_directory_comes_before_a_shipped_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy_scenes").write_text("")
    assert find_config("toy_scenes").resolve() == tmp_path / "toy_scenes"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segvit_scratch_320x240", r"camvid/segvit_scratch_320x240 .*custom/segvit_scratch_320x240"),
        ("camvid/segvit_scratch_320x24", "camvid/segvit_scratch_320x240"),
        ("nothing like it", "nothing like it"),
    ],
)
def test_ambiguous_and_unknown_names_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find_config(name)


def test_a_removed_config_is_replaced_with_a_warning(caplog):
    former, current = (CONFIGS / "continual" / f"ade20k_100-50_{name}.yaml" for name in ("shuffled", "b"))
    assert find_config(former) == current and find_config("ade20k_100-50_shuffled") == current
    assert load_config(former).MODEL.SEGVIT.CONTINUAL == load_config(current).MODEL.SEGVIT.CONTINUAL
    assert caplog.text.count("continual/ade20k_100-50_b replaces it") == 3
