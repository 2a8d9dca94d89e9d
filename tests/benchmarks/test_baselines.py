"""Models of the benchmark (`baselines.py`): labels are the argmax of scores, and each model compiles as one graph."""

import pytest
import torch

from baselines import OutputKind, build_models, build_segvit
from label_endings import Argmax, BandedArgmax

SIZE = (32, 48)
IMAGES = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def diagonal_cfg(tiny_cfg):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    return tiny_cfg


@torch.inference_mode()
@pytest.mark.parametrize("num_present", [0, 3])
def test_labels_are_the_argmax_of_the_scores(diagonal_cfg, num_present):
    outputs = [] if num_present else ["mix"]
    names = ["linear", "linear-bands", "segmenter"]
    kind = OutputKind(labels=True, num_present=num_present)
    models = build_models(diagonal_cfg, names + outputs, SIZE, kind)
    assert list(models) == ["linear", "diagonal", *outputs, "linear-bands", "segmenter"]
    for name, model in models.items():
        outputs = model.sem_seg_head(model.backbone(IMAGES))
        inference = build_segvit(diagonal_cfg).inference if name == "diagonal" else model.inference.scores
        scores = inference(outputs, SIZE)
        assert torch.equal(model(IMAGES), scores.argmax(1)), name


@torch.inference_mode()
def test_argmax_in_bands_gives_the_same_labels_at_another_size():
    scores = torch.randn(1, 7, *SIZE, generator=torch.Generator().manual_seed(1))
    plain, banded = (kind(lambda outputs, size: outputs, (50, 60))(scores, SIZE) for kind in (Argmax, BandedArgmax))
    assert plain.shape == (1, 50, 60) and (plain == banded).float().mean() > 0.999


@torch.inference_mode()
def test_a_synthetic_scene_contains_its_classes(diagonal_cfg):
    model = build_segvit(diagonal_cfg, OutputKind(labels=True, num_present=3))
    fractions = model(IMAGES).flatten().bincount(minlength=5).sort(descending=True).values / IMAGES[:, 0].numel()
    assert fractions[:3].sum() > 0.95 and fractions[2] > 0


@torch.inference_mode()
@pytest.mark.parametrize(("reduction", "output"), [("none", "mix"), ("shrunk", "mix"), ("shrunk++", "diagonal")])
def test_segvit_compiles_as_one_graph(tiny_cfg, reduction, output):
    """Only traced: graphs break while tracing, and code generation would need a C++ compiler."""
    vit, segvit = tiny_cfg.MODEL.VIT, tiny_cfg.MODEL.SEGVIT
    segvit.OUTPUT = output
    if reduction != "none":
        vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES = reduction, 1, [0, 2]
        tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
        vit.EDGE.SELECTION, segvit.QUERY_UPSAMPLING = "topk", "nearest"
    model = build_segvit(tiny_cfg)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(IMAGES), model(IMAGES))
