"""The PNGs of predictions: names, ids, colours, atomic writes.

Shape shorthand: K classes, H x W pixels.
"""

import numpy as np
import pytest
from PIL import Image

from segvit.evaluation.prediction_writer import PredictionWriter

COLORS = [(10, 20, 30), (200, 100, 0), (0, 0, 255)]
LABELS = np.array([[0, 1, 2], [2, 2, 1]])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_labels_and_colors_are_written_as_pngs(tmp_path):
    writer = PredictionWriter(tmp_path / "out", images=["/data/a.jpg", "/data/b.tif"], colors=COLORS)
    writer.write("/data/a.jpg", LABELS)
    assert files(tmp_path / "out") == ["colors/a.png", "labels/a.png"]
    labels, colors = (np.array(Image.open(tmp_path / "out" / kind / "a.png")) for kind in ("labels", "colors"))
    assert labels.dtype == np.uint8 and np.array_equal(labels, LABELS)
    assert colors.shape == (2, 3, 3) and colors[0, 1].tolist() == [200, 100, 0] and colors[1, 0].tolist() == [0, 0, 255]
    writer.write("/data/a.jpg", LABELS[::-1])
    assert np.array_equal(np.array(Image.open(tmp_path / "out/labels/a.png")), LABELS[::-1])


def test_equal_names_in_different_folders_are_kept_apart(tmp_path):
    images = ["/data/berlin/0.png", "/data/bonn/0.png"]
    writer = PredictionWriter(tmp_path, images=images, colors=COLORS)
    for image in images:
        writer.write(image, LABELS)
    assert files(tmp_path / "labels") == ["berlin/0.png", "bonn/0.png"]


def test_equal_names_with_different_extensions_are_kept_apart(tmp_path):
    images = ["/data/0.png", "/data/0.jpg", "/data/1.jpg"]
    writer = PredictionWriter(tmp_path, images=images, colors=COLORS)
    for image in images:
        writer.write(image, LABELS)
    assert files(tmp_path / "labels") == ["0.jpg.png", "0.png.png", "1.png"]


def test_ids_above_255_are_written_in_16_bits(tmp_path):
    writer = PredictionWriter(tmp_path, images=["/data/a.jpg"], colors=[(1, 2, 3)] * 300)
    writer.write("/data/a.jpg", np.array([[299, 4]]))
    assert np.array(Image.open(tmp_path / "labels/a.png")).tolist() == [[299, 4]]


def test_a_failed_write_leaves_no_partial_file(tmp_path, monkeypatch):
    def fail(image, path, **options):
        path.write_bytes(b"half")
        raise OSError("disk full")

    writer = PredictionWriter(tmp_path, images=["/data/a.jpg"], colors=COLORS)
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        writer.write("/data/a.jpg", LABELS)
    assert list(tmp_path.rglob("a.png")) == []
