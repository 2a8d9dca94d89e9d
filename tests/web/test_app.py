"""app.py names invalid arguments and exits with code 2."""

import importlib.util
import runpy
import sys

import pytest

from helpers.repository import PROJECT

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
