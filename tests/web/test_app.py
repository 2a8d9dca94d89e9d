"""app.py names invalid arguments and exits with code 2, and serves a model folder with its classes."""

import importlib.util
import runpy
import sys

import numpy as np
import pytest

from helpers.repository import PROJECT
from helpers.scripts import load_script
from segvit.d2 import load_config
from segvit.inference import SegViTPredictor
from segvit.model_folder.packing import pack_checkpoint

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason='the web page needs Gradio: pip install -e ".[demo]"'
)

APP = PROJECT / "demo" / "app.py"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--port", "70000"), "--port 70000"),
        (("--seconds", "0"), "--seconds"),
        (("--max-megabytes", "inf"), "--max-megabytes"),
        (("--max-waiting", "0"), "--max-waiting"),
        (("--public-url", "segvit.example.org"), "--public-url"),
        (("--config-file", "nowhere"), "'nowhere'"),
        (("--host", "192.0.2.1"), "192.0.2.1:7860"),
    ],
)
def test_invalid_arguments_are_named(tiny_model, arguments, message, monkeypatch, capsys):
    config, weights = map(str, tiny_model)
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # Undoes what the command sets.
    monkeypatch.setattr(sys, "argv", ["app.py", "--config-file", config, "--weights", weights, *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(APP), run_name="__main__")
    error = capsys.readouterr().err
    assert end.value.code == 2 and message in error and "Traceback" not in error


def test_a_model_folder_is_served_with_its_classes(tiny_model, make_upload, tmp_path, monkeypatch):
    """Also from the OUTPUT_DIR around it; the page itself has tests of its own."""
    config, weights = tiny_model
    folder = pack_checkpoint(weights, tmp_path / "run" / "model", cfg=load_config(config))
    listed = (folder / "classes.json").read_text().replace("class 3", "bridge")
    (folder / "classes.json").write_text(listed)
    app, served = load_script(APP), []
    for name in app.NO_TELEMETRY:
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(app, "import_server", lambda: lambda analyzer, **options: served.append((analyzer, options)))
    for model in (folder, folder.parent):
        monkeypatch.setattr(sys, "argv", ["app.py", "--model", str(model), "--port", "0", "MODEL.DEVICE", "cpu"])
        app.main()
    image = make_upload("plain")
    for analyzer, options in served:
        assert options["port"] == 0 and analyzer.predictor.class_names[3] == "bridge"
        assert np.array_equal(analyzer(image).labels, SegViTPredictor(folder)(image))
    assert len(served) == 2
