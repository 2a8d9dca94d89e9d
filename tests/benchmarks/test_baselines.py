"""The models of a benchmark: what they share, and labels that are those of their scores."""

import pytest
import torch

from baselines import Ending, build_contenders, build_whole
from label_endings import ArgmaxOfScores, WinnersOfScores

SIZE = (32, 48)
IMAGES = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def diagonal_cfg(tiny_cfg):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    return tiny_cfg


@torch.inference_mode()
@pytest.mark.parametrize("num_present", [0, 3])
def test_labels_are_the_winners_of_the_scores(diagonal_cfg, num_present):
    outputs = [] if num_present else ["mix"]
    names = ["linear", "linear-bands", "segmenter"]
    models = build_contenders(diagonal_cfg, names + outputs, SIZE, Ending(labels=True, num_present=num_present))
    assert list(models) == ["linear", "diagonal", *outputs, "linear-bands", "segmenter"]
    for name, model in models.items():
        outputs = model.sem_seg_head(model.backbone(IMAGES))
        scores = build_scores(diagonal_cfg, outputs) if name == "diagonal" else model.inference.scores(outputs, SIZE)
        assert torch.equal(model(IMAGES), scores.argmax(1)), name


def build_scores(cfg, outputs):
    """Scores of the whole model's head output."""
    return build_contenders(cfg, [], SIZE)["diagonal"].inference(outputs, SIZE)


@torch.inference_mode()
def test_both_floors_find_the_same_labels_at_another_size():
    scores = torch.randn(1, 7, *SIZE, generator=torch.Generator().manual_seed(1))
    plain, banded = (
        kind(lambda outputs, size: outputs, (50, 60))(scores, SIZE) for kind in (ArgmaxOfScores, WinnersOfScores)
    )
    assert plain.shape == (1, 50, 60) and (plain == banded).float().mean() > 0.999


@torch.inference_mode()
def test_a_made_scene_holds_its_classes(diagonal_cfg):
    model = build_contenders(diagonal_cfg, [], SIZE, Ending(labels=True, num_present=3))["diagonal"]
    shares = model(IMAGES).flatten().bincount(minlength=5).sort(descending=True).values / IMAGES[:, 0].numel()
    assert shares[:3].sum() > 0.95 and shares[2] > 0


@torch.inference_mode()
@pytest.mark.parametrize("reduction", ["none", "shrunk", "shrunk++"])
@pytest.mark.parametrize("output", ["diagonal", "mix"])
def test_whole_models_compile_as_one_graph(tiny_cfg, reduction, output):
    """By the tracing part alone, which is where graphs break; code for the graph would take a compiler."""
    vit, segvit = tiny_cfg.MODEL.VIT, tiny_cfg.MODEL.SEGVIT
    segvit.OUTPUT = output
    if reduction != "none":
        vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES = reduction, 1, [0, 2]
        tiny_cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
        vit.EDGE.SELECTION, segvit.QUERY_UPSAMPLING = "topk", "nearest"
    model = build_whole(tiny_cfg)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(IMAGES), model(IMAGES))
