"""Configs are found by path and by name."""

import pytest

from segvit.config.shipped import CONFIGS, find_config

CAMVID = CONFIGS / "camvid" / "segvit_scratch_320x240.yaml"


@pytest.mark.parametrize(
    "name", [CAMVID, str(CAMVID), "segvit_scratch_320x240_shrunk_pp", "camvid/segvit_scratch_320x240.yaml"]
)
def test_names(name):
    found = find_config(name)
    assert found.is_file() and found.stem == str(name).removesuffix(".yaml").split("/")[-1]


def test_a_file_of_ones_own_goes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy_scenes").write_text("")
    assert find_config("toy_scenes").resolve() == tmp_path / "toy_scenes"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("segvit_scratch_320x240", "ambiguous: camvid/segvit_scratch_320x240 or custom/segvit_scratch_320x240"),
        ("camvid/segvit_scratch_320x24", "near: camvid/segvit_scratch_320x240"),
        ("nothing like it", "neither a file nor the name of a config in "),
    ],
)
def test_names_that_stand_for_no_config(name, message):
    with pytest.raises(ValueError, match=message):
        find_config(name)
