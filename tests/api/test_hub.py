"""`push_to_hub` and `from_pretrained` with a hub on this machine, over HTTP: revisions, the cache, and offline."""

import json

import huggingface_hub
import numpy as np
import pytest
import torch

import segvit
from helpers.local_hub import LocalHub
from segvit.command_line.model_arguments import find_model_or_config

TINY = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 24, "depth": 2, "vit_num_heads": 3, "output": "diagonal"}
FILES = {"config.yaml", "model.safetensors", "classes.json", "metrics.json", "README.md"}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub in the place of HF_ENDPOINT, from which these constants were made when huggingface_hub was imported."""
    running = LocalHub()
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", running.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", running.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield running
    running.close()


def test_a_model_is_pushed_loaded_by_revision_and_kept_for_offline_use(hub, tmp_path):
    torch.manual_seed(0)
    options = {**TINY, "vit_init_std": 0.15, "segvit_init_std": 0.2}
    model = segvit.create_model("vit_tiny_patch16_224", classes=["road", "sky"], **options).eval()
    image = np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8)
    model.push_to_hub("someone/street")
    assert set(hub.revisions["someone/street", "main"]) == FILES
    assert b'from_pretrained("someone/street")' in hub.revisions["someone/street", "main"]["README.md"]
    renamed = segvit.create_model("vit_tiny_patch16_224", classes=["track", "sky"], **options)
    renamed.push_to_hub("someone/street", branch="v2")

    loaded = segvit.from_pretrained("someone/street")
    assert loaded.classes == model.classes.__class__(("road", "sky"), model.classes.colors, True)
    np.testing.assert_allclose(loaded.predict(image).scores, model.predict(image).scores, atol=1e-6)
    assert segvit.from_pretrained("someone/street", revision="v2").classes.names == ("track", "sky")
    with pytest.raises(OSError, match="v3"):
        segvit.from_pretrained("someone/street", revision="v3")
    with pytest.raises(OSError, match="someone/other"):
        segvit.from_pretrained("someone/other")

    # Files that are there are not downloaded again, and serve while the hub is away.
    del hub.received[:]
    folder = find_model_or_config("someone/street")
    assert {path.name for path in folder.iterdir()} == FILES
    assert not [line for line in hub.received if line.startswith("GET") and "/resolve/" in line]
    hub.close()
    assert segvit.from_pretrained("someone/street", revision="v2").classes.names == ("track", "sky")
    local = segvit.from_pretrained("someone/street", local_files_only=True)
    assert json.loads((folder / "classes.json").read_text())["classes"][0]["name"] == local.classes.names[0] == "road"
