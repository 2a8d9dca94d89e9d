"""plot_pareto.py: where the figures of a row come from, what is left out and why, and its files."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from helpers.repository import PROJECT
from helpers.scripts import load_script
from helpers.toy_run import toy_run_cfg
from segvit.analysis import count_macs, mean_macs
from segvit.analysis.from_config import build_random_model
from segvit.classes.palette import distinct_colors
from segvit.experiments import mode_comparison
from segvit.exported import files

TOOL = load_script(PROJECT / "tools" / "plot_pareto.py")
# Tokens of an image whose edge head finds some edges: half of its scores are above the median.
EDGES = {
    "MODEL__VIT__REDUCTION": "cells",
    "MODEL__VIT__EDGE__SELECTION": "threshold",
    "MODEL__VIT__EDGE__THRESHOLD": 0.5,
}
SIZES = ((32, 48), (16, 48))
MERGE = ("MODEL.VIT.REDUCTION", "merge", "MODEL.VIT.MERGE.BLOCK", "1")


def write_run(folder, miou=None, *, finished=True, **changes):
    """The OUTPUT_DIR of a run with random weights; `miou` is what its log says of the last evaluation."""
    folder.mkdir()
    cfg = toy_run_cfg(folder, **changes)
    (folder / "config.yaml").write_text(cfg.dump())
    lines = [{"iteration": 3, "sem_seg/mIoU": 99.0}, {"iteration": cfg.SOLVER.MAX_ITER, "sem_seg/mIoU": miou}]
    (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines if miou else lines[:1])))
    # Of an evaluation after the training, with other keys.
    (folder / "sem_seg_evaluation.json").write_text('{"metrics": {"mIoU": 98.0}}')
    torch.manual_seed(0)
    if finished:
        DetectionCheckpointer(build_model(cfg), save_dir=str(folder)).save("model_final")
    return str(folder)


def run_tool(output, *rows):
    TOOL.main([*(word for row in rows for word in ("--row", *row)), "--output", str(output), "--rounds", "1"])
    return {row["name"]: row for row in json.loads((output / "pareto.json").read_text())["rows"]}


@pytest.fixture
def output(toy_scenes, tmp_path):
    return tmp_path / "output"


def test_rows_of_runs_of_switches_and_of_configs(output, tmp_path, capsys):
    seeds = [write_run(tmp_path / f"s{seed}", miou) for seed, miou in ((1, 50.0), (2, 54.0))]
    unfinished = write_run(tmp_path / "s3", 40.0, finished=False)
    rows = run_tool(
        output,
        ("plain", *seeds, unfinished),
        ("merge", *seeds[:1], *MERGE),
        ("untrained", str(tmp_path / "s3" / "config.yaml")),
    )
    plain, merge, untrained = rows["plain"], rows["merge"], rows["untrained"]
    # The last evaluation of each finished run.
    assert (plain["miou"]["mean"], plain["runs"]) == (52.0, 2) and plain["miou"]["deviation"] == pytest.approx(8**0.5)
    assert "s3 has not finished" in plain["missing"]["some of the runs"]
    # A switch makes another model of the weights: it is evaluated, and not read.
    assert 0 <= merge["miou"]["mean"] < 40 and merge["miou"]["deviation"] is None
    assert merge["gmacs"] < plain["gmacs"] and merge["timing"]["median_ms"] > 0
    assert untrained["miou"] is None and "without trained weights" in untrained["missing"]["mIoU"]
    assert untrained["gmacs"] == plain["gmacs"] and untrained["timing"]["median_ms"] > 0
    text = (output / "pareto.txt").read_text()
    assert text.strip() in capsys.readouterr().out and "52.0 ± 2.8" in text
    assert (output / "pareto.png").stat().st_size > 10_000


def test_rows_without_weights_have_a_table_and_no_plot(output, tmp_path, capsys):
    config = tmp_path / "s1" / "config.yaml"
    write_run(tmp_path / "s1", finished=False)
    output.mkdir()
    (output / "pareto.png").write_bytes(b"of other rows")
    threshold = ("MODEL.VIT.MERGE.SELECTION", "threshold", "MODEL.VIT.MERGE.THRESHOLD", "0.99")
    rows = run_tool(output, ("merge", str(config), *MERGE, *threshold))
    assert "timed at a share of 0.5 of its tokens in place of a threshold" in rows["merge"]["missing"]["mIoU"]
    assert "there is no plot" in capsys.readouterr().out and not (output / "pareto.png").exists()


def refuse_rows(output, capsys, *rows):
    """The message with which the rows are refused."""
    with pytest.raises(SystemExit) as ended:
        run_tool(output, *rows)
    assert ended.value.code == 2 and not list(output.glob("*"))
    return capsys.readouterr().err


def test_a_row_takes_runs_of_one_recipe_each_once(output, tmp_path, capsys):
    plain, cells = write_run(tmp_path / "s1", 50.0), write_run(tmp_path / "s2", 54.0, **EDGES)
    assert "MODEL.VIT.REDUCTION is 'none'" in refuse_rows(output, capsys, ("both", plain, cells))
    assert "is named twice" in refuse_rows(output, capsys, ("twice", plain, plain))
    longer = write_run(tmp_path / "s3", 56.0, SOLVER__MAX_ITER=9)
    assert "SOLVER.MAX_ITER is" in refuse_rows(output, capsys, ("both", plain, longer))


def test_test_sets_of_two_folders_are_refused(output, tmp_path, capsys, monkeypatch):
    """Each registers its test set as `folder_val`, in place of that of the other."""
    first, second = (write_run(tmp_path / name, 50.0) for name in ("s1", "s2"))
    find = mode_comparison.find_compared_model
    monkeypatch.setattr(
        mode_comparison,
        "find_compared_model",
        lambda name, opts: replace(find(name, opts), data_folder=f"/data/{Path(name).name}"),
    )
    message = refuse_rows(output, capsys, ("first", first), ("second", second))
    assert "one test set, not on those of /data/s1 and /data/s2" in message


def use_exported_file(monkeypatch, path, class_names):
    """A file at `path` that finds class 1 everywhere."""

    def open_file(path):
        metadata = {
            "class_names": class_names,
            "palette": distinct_colors(10),
            "result": "labels",
            "pixel_format": "RGB",
            "short_side": 32,
            "max_long_side": 48,
            "max_level": 0,
            "ignore_value": 255,
        }
        run = lambda images: torch.ones(len(images), *images.shape[-2:], dtype=torch.int64)  # noqa: E731
        return files.ExportedFile(path=path, run=run, metadata=metadata, fixed_size=None)

    monkeypatch.setitem(files.READERS, ".onnx", open_file)
    path.touch()
    return str(path)


def test_an_exported_file_is_evaluated_and_timed_but_not_counted(output, tmp_path, monkeypatch):
    exported = use_exported_file(monkeypatch, tmp_path / "model.onnx", [f"class {index}" for index in range(10)])
    rows = run_tool(output, ("plain", write_run(tmp_path / "s1", 50.0)), ("int8", exported))
    assert 0 < rows["int8"]["miou"]["mean"] < 10 and rows["int8"]["timing"]["median_ms"] > 0
    assert rows["int8"]["gmacs"] is None and rows["int8"]["missing"]["MACs"]


def test_a_model_with_other_classes_is_refused(output, tmp_path, monkeypatch, capsys):
    """As many classes in another order would give an mIoU that means nothing."""
    names = MetadataCatalog.get("toy_scenes_sem_seg_val").stuff_classes
    exported = use_exported_file(monkeypatch, tmp_path / "model.onnx", [*names[1:], names[0]])
    with pytest.raises(SystemExit) as ended:
        run_tool(output, ("plain", write_run(tmp_path / "s1", 50.0)), ("other", exported))
    assert ended.value.code == 2 and f"class 0 is '{names[1]}' in the model" in capsys.readouterr().err


def test_a_run_without_its_last_evaluation_is_evaluated(output, tmp_path):
    rows = run_tool(output, ("plain", write_run(tmp_path / "s1")))
    assert rows["plain"]["miou"]["mean"] < 40


def test_operations_of_an_image_are_those_of_its_tokens(toy_scenes, tmp_path):
    image = torch.randint(256, (3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    plain = build_random_model(toy_run_cfg(tmp_path)).network
    assert mean_macs(plain, [image, image[:, :16]]) == sum(count_macs(plain, size)["total"] for size in SIZES) / 2
    torch.manual_seed(0)
    cells = build_model(toy_run_cfg(tmp_path, **EDGES)).eval().network
    flat = torch.full_like(image, 128)
    counts = [mean_macs(cells, [one]) for one in (image, flat)]
    assert counts[0] != counts[1] and mean_macs(cells, [image, flat]) == sum(counts) / 2
