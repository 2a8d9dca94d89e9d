"""`read_weight_file`: damaged files and files with code are refused by name, and no code is run."""

import pickle
import re

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from helpers.code_in_files import TouchFile
from helpers.published_weights import encoder, flax_layout, load, published, save, save_npz


def write(path, source):
    """An intact file in the format of the suffix."""
    if path.suffix == ".npz":
        return save_npz(path, source)
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(source.state_dict(), path)
    else:
        save(path, source.state_dict(), _use_new_zipfile_serialization=path.suffix != ".bin")
    return path


FORMATS = pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors", ".npz"])


@FORMATS
@pytest.mark.parametrize("kept", [5, 0.02, 0.5, 0.999], ids=str)
def test_a_truncated_file_is_refused(kept, suffix, tmp_path):
    path = write(tmp_path / f"short{suffix}", published())
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(kept * len(content))])
    size = path.stat().st_size
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} is corrupt or truncated \({size} bytes"):
        load(encoder(), path)


@FORMATS
def test_a_file_of_noise_is_refused(suffix, tmp_path):
    path = tmp_path / f"noise{suffix}"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ValueError, match=rf"noise\{suffix} is corrupt or truncated \(5000 bytes"):
        load(encoder(), path)


@FORMATS
def test_an_error_page_in_place_of_weights_is_refused(suffix, tmp_path):
    path = tmp_path / f"page{suffix}"
    path.write_text("<!DOCTYPE html><html><body>404: Not Found</body></html>\n")
    with pytest.raises(ValueError, match=rf"page\{suffix} is corrupt or truncated"):
        load(encoder(), path)


@FORMATS
def test_an_empty_file_is_refused(suffix, tmp_path):
    path = tmp_path / f"empty{suffix}"
    path.touch()
    with pytest.raises(ValueError, match=rf"empty\{suffix} is empty \(0 bytes\)"):
        load(encoder(), path)


def write_zip(path, content):
    save(path, {"model": published().state_dict(), "extra": content})


def write_legacy(path, content):
    save(path, {"extra": content}, _use_new_zipfile_serialization=False)


def write_pickle(path, content):
    path.write_bytes(pickle.dumps({"extra": content}))


@pytest.mark.parametrize("form", [write_zip, write_legacy, write_pickle])
def test_a_pickle_with_code_is_refused(form, tmp_path):
    path, trace = tmp_path / "intruder.pth", tmp_path / "trace"
    form(path, TouchFile(trace))
    with pytest.raises(ValueError) as error:
        load(encoder(), path)
    message = str(error.value)
    assert message.startswith(f"{path} contains code") and "safetensors.torch.save_file" in message
    assert form is write_pickle or "(posix.system)" in message
    assert not trace.exists()


def test_npz_with_code_is_refused(tmp_path):
    path, trace = tmp_path / "intruder.npz", tmp_path / "trace"
    arrays = flax_layout(published().state_dict(), heads=3, big_vision=False)
    np.savez(path, **{**arrays, "cls": np.array([[[TouchFile(trace)] * 48]], dtype=object)})
    with pytest.raises(ValueError, match=r"intruder\.npz contains code"):
        load(encoder(), path)
    assert not trace.exists()


def test_torchscript_is_refused(tmp_path):
    path = tmp_path / "scripted.pt"
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(ValueError, match=r"scripted\.pt contains code"):
        load(encoder(), path)
