"""The files by which a repeated command finds its earlier runs: same config or refused, damaged files named."""

import pytest

from segvit.continual.step_result import read_result
from segvit.errors import UserError
from segvit.experiments.cached_run import RunResult, lock_config, read_record


def test_a_run_is_known_again_if_only_its_folder_is_written_in_another_way(tiny_cfg, tmp_path):
    """YAML folds a long path with spaces into two lines."""
    tiny_cfg.OUTPUT_DIR = "a path of many words " * 8
    lock_config(tiny_cfg, tmp_path)
    tiny_cfg.OUTPUT_DIR = "short"
    lock_config(tiny_cfg, tmp_path)
    tiny_cfg.SEED = 77
    with pytest.raises(UserError, match="another config: choose another --output"):
        lock_config(tiny_cfg, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]"])
def test_a_damaged_result_is_named_with_the_remedy(tmp_path, text):
    file = tmp_path / "result.json"
    file.write_text(text)
    for read in (lambda: read_record(file, RunResult), lambda: read_result(file)):
        with pytest.raises(UserError, match=r"result\.json is damaged: delete it"):
            read()
