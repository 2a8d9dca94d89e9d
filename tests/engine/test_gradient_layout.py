"""Two processes with one image each: DistributedDataParallel finds every gradient in the layout of its bucket."""

import warnings

import torch
from detectron2.engine import create_ddp_model

from helpers.processes import run_in_two_processes
from helpers.tiny_models import build


def train_with_one_image(rank, folder, cfg, image):
    torch.set_num_threads(1)
    model = create_ddp_model(build(cfg).train(), broadcast_buffers=False, device_ids=None, gradient_as_bucket_view=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # In the second step as well: DDP arranges its buckets anew after the first one.
        for _ in range(2):
            model.zero_grad()
            sum(model([image]).values()).backward()
    (folder / f"warnings{rank}.txt").write_text("\n".join(str(warning.message) for warning in caught))


def test_gradients_of_one_image_have_the_layout_of_the_buckets(tiny_cfg, make_input, tmp_path):
    """Of class token, registers and positions, which are the same for all images."""
    vit = tiny_cfg.MODEL.VIT
    vit.NAME, vit.PATCH_SIZE, vit.PRETRAINED = "vit_small_patch14_reg4_dinov2", 8, ""
    run_in_two_processes(train_with_one_image, tmp_path, tiny_cfg, make_input(32, 48))
    for rank in range(2):
        assert "stride" not in (tmp_path / f"warnings{rank}.txt").read_text()
