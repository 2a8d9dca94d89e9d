"""Property tests of the mapper and the model: images of any size with any labels.

Shape shorthand: H x W pixels, K classes.
"""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from strategies import label_maps, noise_image, sizes

from helpers.labels import assert_labels_are_argmax
from segvit.d2.multi_scale import SemanticSegmentorWithTTA
from segvit.data import SegViTSemanticDatasetMapper

NUM_CLASSES = 5
SHRUNK = {"MODEL.VIT.REDUCTION_BLOCK": 1, "MODEL.VIT.OUT_INDICES": [0, 2], "MODEL.SEGVIT.UPSAMPLING_LAYERS": 1}
SHRUNK |= {"MODEL.SEM_SEG_HEAD.IN_FEATURES": ["block2", "block0"]}
SHRUNK_PP = SHRUNK | {"MODEL.VIT.REDUCTION": "shrunk++", "MODEL.SEGVIT.QUERY_UPSAMPLING": "nearest"}
WINDOWS = {"TEST.WINDOW.ENABLED": True, "TEST.WINDOW.SIZE": [32, 48], "TEST.WINDOW.STRIDE": [21, 32]}
MODELS = {
    "mix": {},
    "diagonal": {"MODEL.SEGVIT.OUTPUT": "diagonal", "MODEL.SEGVIT.EXCLUDE_IGNORED_PIXELS": True},
    "softmax": {"MODEL.SEGVIT.OUTPUT": "softmax", "MODEL.SEGVIT.LOSS": "pixel", "MODEL.SEGVIT.MASK_LOSS_STRIDE": 2},
    "shrunk": SHRUNK | {"MODEL.VIT.REDUCTION": "shrunk", "MODEL.SEGVIT.QUERY_UPSAMPLING": "learned"},
    "shrunk++": SHRUNK_PP | {"MODEL.VIT.EDGE.THRESHOLD": 0.5},
    "shrunk++ topk": SHRUNK_PP | {"MODEL.VIT.EDGE.SELECTION": "topk", "MODEL.SEGVIT.MASK_LOSS_STRIDE": 2},
}


@pytest.fixture
def cfg(tiny_cfg, request):
    """The tiny config with the keys of the test's parameter."""
    for key, value in getattr(request, "param", {}).items():
        tiny_cfg.merge_from_list([key, value])
    return tiny_cfg


@pytest.fixture
def model(cfg):
    torch.manual_seed(0)
    return build_model(cfg).eval()


EACH_MODEL = pytest.mark.parametrize("cfg", MODELS.values(), ids=MODELS, indirect=True)
EACH_SEGMENTER = pytest.mark.parametrize("cfg", [*MODELS.values(), WINDOWS], ids=[*MODELS, "windows"], indirect=True)


def write_pair(folder, labels):
    Image.fromarray(noise_image(labels.shape)).save(folder / "image.png")
    Image.fromarray(labels).save(folder / "labels.png")
    return {"file_name": str(folder / "image.png"), "sem_seg_file_name": str(folder / "labels.png")}


@settings(max_examples=60)
@given(labels=label_maps(NUM_CLASSES), seed=st.integers(0, 2**31 - 1))
def test_mapped_images_are_at_most_as_large_as_the_crop(cfg, tmp_path, labels, seed):
    """Image and label map have one size, and no new label appears."""
    cfg.INPUT.CROP.SINGLE_CATEGORY_MAX_AREA = 0.75
    np.random.seed(seed)
    mapped = SegViTSemanticDatasetMapper(cfg, is_train=True)(write_pair(tmp_path, labels))
    height, width = mapped["sem_seg"].shape
    assert 1 <= height <= 32 and 1 <= width <= 48
    assert mapped["image"].shape == (3, height, width)
    ids = set(mapped["sem_seg"].unique().tolist())
    assert ids and ids <= set(np.unique(labels).tolist())


@pytest.mark.parametrize("cfg", [{"INPUT.MIN_SIZE_TEST": 20, "INPUT.MAX_SIZE_TEST": 50}], indirect=True)
@settings(max_examples=40)
@given(size=sizes())
def test_scores_have_the_size_of_the_image_file(cfg, model, tmp_path, size):
    """The test resize keeps at least one pixel per side."""
    mapped = SegViTSemanticDatasetMapper(cfg, is_train=False)(write_pair(tmp_path, np.zeros(size, np.uint8)))
    assert 1 <= min(mapped["image"].shape[1:]) <= 20 and max(mapped["image"].shape[1:]) <= 50
    with torch.no_grad():
        (result,) = model([mapped])
    assert result["sem_seg"].shape == (NUM_CLASSES, *size) and result["sem_seg"].isfinite().all()


@EACH_MODEL
@settings(max_examples=30)
@given(data=st.data(), seed=st.integers(0, 2**31 - 1))
def test_losses_and_gradients_are_finite(cfg, model, tmp_path, data, seed):
    np.random.seed(seed)
    mapper = SegViTSemanticDatasetMapper(cfg, is_train=True)
    pairs = [write_pair(tmp_path, data.draw(label_maps(NUM_CLASSES))) for _ in range(2)]
    losses = model.train()([mapper(pair) for pair in pairs])
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())
    model.zero_grad()
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@EACH_SEGMENTER
@settings(max_examples=30)
@given(batch=st.lists(st.tuples(sizes(), sizes()), min_size=2, max_size=3))
def test_a_batch_of_any_sizes_equals_one_by_one(model, batch):
    """At other output sizes than those of the images."""
    inputs = []
    for seed, (size, (height, width)) in enumerate(batch):
        image = torch.from_numpy(noise_image(size, seed)).permute(2, 0, 1)
        inputs.append({"image": image, "height": height, "width": width})
    with torch.no_grad():
        together, alone = model(inputs), [model([one])[0] for one in inputs]
    for scores, single, (_, output_size) in zip(together, alone, batch, strict=True):
        assert scores["sem_seg"].shape == (NUM_CLASSES, *output_size) and scores["sem_seg"].isfinite().all()
        torch.testing.assert_close(scores["sem_seg"], single["sem_seg"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cfg", [{}, WINDOWS], ids=["whole", "windows"], indirect=True)
@settings(max_examples=30)
@given(size=sizes(), output_size=sizes())
def test_labels_at_several_scales_are_the_argmax_of_the_mean_scores(cfg, model, size, output_size):
    cfg.TEST.AUG.MIN_SIZES, cfg.TEST.AUG.MAX_SIZE = (16, 40), 64
    image = torch.from_numpy(noise_image(size)).permute(2, 0, 1)
    inputs = [{"image": image, "height": output_size[0], "width": output_size[1]}]
    by_scale = SemanticSegmentorWithTTA(cfg, model)
    model.labels_only = False
    scores = by_scale(inputs)[0]["sem_seg"]
    model.labels_only = True
    labels = by_scale(inputs)[0]["sem_seg_labels"]
    assert scores.shape == (NUM_CLASSES, *output_size) and labels.shape == output_size
    assert_labels_are_argmax(labels, scores, margin=1e-4)
