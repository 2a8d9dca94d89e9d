"""Position arguments of blocks: those of timm, without a wait for a GPU where a step would have one."""

import pytest
import timm
import torch
from timm.models.beit import gen_relative_position_index

from segvit.modeling.encoder.attention_positions import RotaryPositions, relative_rows


@pytest.mark.parametrize("grid", [(1, 1), (3, 5), (4, 2)])
def test_rows_of_relative_positions_are_timms(grid):
    assert torch.equal(relative_rows(grid, torch.device("cpu")), gen_relative_position_index(grid))


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_tiny_patch14_224"])
def test_the_embedding_of_the_usual_grid_is_computed_once(name, monkeypatch):
    rope = timm.create_model(name, depth=1).rope
    expected = {grid: rope.get_embed(shape=list(grid)) for grid in ((3, 5), (4, 2))}
    positions = RotaryPositions(rope=rope, num_prefix_tokens=1, grid_size=(3, 5))
    assert torch.equal(positions((4, 2))(0)["rope"], expected[4, 2])
    monkeypatch.setattr(type(rope), "get_embed", None)
    assert torch.equal(positions((3, 5))(0)["rope"], expected[3, 5])
    assert not positions.state_dict().keys() - {f"rope.{name}" for name in rope.state_dict()}
