"""`SegViTPredictor`: labels, scores, batches, streams, threads and errors.

Shape shorthand: H x W pixels, K classes.
"""

import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from PIL import Image

from helpers.tiny_models import use_shrunk_pp, use_windows
from segvit.config.loading import find_config
from segvit.d2 import load_config
from segvit.errors import UserError
from segvit.inference import SegViTPredictor

NUM_CLASSES = 5
SIZES = [(30, 43), (53, 90), (30, 43), (17, 64), (48, 48), (53, 90), (9, 11)]


def save_weights(cfg, folder):
    """Random weights with equal class probabilities, so that masks decide and several classes win."""
    torch.manual_seed(0)
    weights = build_model(cfg).state_dict()
    weights = {name: 0 * value if "class_embed" in name else value for name, value in weights.items()}
    torch.save({"model": weights}, folder / "model.pth")
    return folder / "model.pth"


@pytest.fixture
def make_predictor(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"

    def make(**keywords):
        return SegViTPredictor(tiny_cfg, save_weights(tiny_cfg, tmp_path), **keywords)

    return make


@pytest.fixture
def images():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def use_resize(cfg):
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 64


def use_bgr(cfg):
    cfg.INPUT.FORMAT = "BGR"


CHANGES = [lambda cfg: None, use_resize, use_windows, use_shrunk_pp, use_bgr]


@pytest.mark.parametrize("change", CHANGES)
def test_labels_and_scores_are_those_of_the_default_predictor(tiny_cfg, make_predictor, images, change):
    change(tiny_cfg)
    predictor = make_predictor()
    tiny_cfg.MODEL.WEIGHTS = predictor.cfg.MODEL.WEIGHTS
    default = DefaultPredictor(tiny_cfg)
    for image in images[:2]:
        labels, scores = predictor(image), predictor(image, output="scores")
        assert labels.shape == image.shape[:2] and labels.dtype == np.uint8
        assert scores.shape == (NUM_CLASSES, *labels.shape) and scores.dtype == np.float32
        assert np.array_equal(labels, scores.argmax(0)) and len(np.unique(labels)) > 1
        expected = default(image)["sem_seg"].numpy()
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_labels_of_the_output_mix_are_the_argmax_of_the_scores(tiny_cfg, make_predictor, images):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "mix"
    predictor = make_predictor()
    assert np.array_equal(predictor(images[0]), predictor(images[0], output="scores").argmax(0))


def test_paths_pillow_images_and_arrays_give_the_same_labels(make_predictor, images, tmp_path):
    bgr = images[0]
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    Image.fromarray(rgb).save(tmp_path / "image.png")
    predictor = make_predictor()
    expected = predictor(bgr)
    for image in (tmp_path / "image.png", str(tmp_path / "image.png"), Image.fromarray(rgb)):
        assert np.array_equal(predictor(image), expected)
    assert np.array_equal(make_predictor(array_format="RGB")(rgb), expected)


def test_input_arrays_are_not_changed(make_predictor, images):
    original = images[0].copy()
    make_predictor()(images[0])
    assert np.array_equal(images[0], original)
    read_only = images[0][::-1]
    read_only.flags.writeable = False
    assert make_predictor()(read_only).shape == read_only.shape[:2]


@pytest.mark.parametrize("output", ["labels", "scores"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_streams_equal_single_images(make_predictor, images, batch_size, output):
    predictor = make_predictor()
    expected = [predictor(image, output=output) for image in images]
    streamed = list(predictor.stream(iter(images), output=output, batch_size=batch_size))
    assert all(yielded is given for (yielded, _), given in zip(streamed, images, strict=True))
    for results in (predictor.batch(images, output=output), [result for _, result in streamed]):
        for result, single in zip(results, expected, strict=True):
            if output == "scores":
                np.testing.assert_allclose(result, single, rtol=1e-4, atol=1e-5)
            else:
                assert (result == single).mean() > 0.99  # Rounding may swap classes of equal score.


def test_no_images_give_no_results(make_predictor):
    predictor = make_predictor()
    assert predictor.batch([]) == [] and list(predictor.stream([])) == []


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_holds_two_batches_in_memory(make_predictor, batch_size):
    alive, most = weakref.WeakSet(), 0

    class Hashable(np.ndarray):
        __hash__ = object.__hash__

    def camera():
        for index in range(20):
            image = np.full((8, 8, 3), index, dtype=np.uint8).view(Hashable)
            alive.add(image)
            yield image
            del image

    for image, _ in make_predictor().stream(camera(), batch_size=batch_size):
        most = max(most, len(alive))
        del image
    assert batch_size < most <= 2 * batch_size + 1


def test_a_stream_may_be_closed_early(make_predictor, images):
    stream = make_predictor().stream(images)
    next(stream)
    stream.close()


def test_an_unreadable_image_is_raised_or_skipped(make_predictor, images, tmp_path):
    missing, text = tmp_path / "missing.png", tmp_path / "text.png"
    text.write_text("not an image")
    predictor = make_predictor()
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        predictor(missing)
    with pytest.raises(ValueError, match=r"text\.png: "):
        predictor.batch([images[0], text])
    stream, seen = predictor.stream([images[0], images[1], text, images[2]], batch_size=4), []
    with pytest.raises(ValueError, match=r"text\.png: "):
        seen.extend(labels for _, labels in stream)
    skipped, several = [], [missing, images[0], text, images[1]]
    stream = predictor.stream(several, batch_size=2, on_error=lambda *pair: skipped.append(pair))
    assert [labels.shape for _, labels in stream] == [SIZES[0], SIZES[1]]
    assert [image for image, _ in skipped] == [missing, text]
    assert [type(error) for _, error in skipped] == [FileNotFoundError, UserError]


def test_a_stream_yields_the_results_before_an_unreadable_image(make_predictor, images, tmp_path):
    seen = []
    with pytest.raises(FileNotFoundError):
        for _, labels in make_predictor().stream([*images[:2], tmp_path / "missing.png"], batch_size=4):
            seen.append(labels)
    assert [labels.shape for labels in seen] == SIZES[:2]


def test_a_stream_yields_the_results_before_an_error_of_its_iterable(make_predictor, images):
    def broken():
        yield from images
        raise ConnectionError("gone")

    seen = []
    with pytest.raises(ConnectionError, match="gone"):
        for _, labels in make_predictor().stream(broken(), batch_size=2):
            seen.append(labels)
    assert len(seen) == len(images)


@pytest.mark.parametrize("change", CHANGES)
def test_threads_may_share_a_predictor(tiny_cfg, make_predictor, images, change):
    change(tiny_cfg)
    predictor = make_predictor()
    expected = [predictor(image, output="scores") for image in images]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(predictor, image, output="scores") for _ in range(4) for image in images]
        labels = [pool.submit(predictor, image) for image in images]
        for future, scores in zip(futures, expected * 4, strict=True):
            np.testing.assert_allclose(future.result(), scores, rtol=1e-4, atol=1e-5)
        for future, scores in zip(labels, expected, strict=True):
            assert (future.result() == scores.argmax(0)).mean() > 0.99


def test_more_than_255_classes_give_int32_labels(tiny_cfg, make_predictor, images):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, tiny_cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 300, 65535
    predictor = make_predictor()
    labels = predictor(images[0])
    assert labels.dtype == np.int32
    assert np.array_equal(labels, predictor(images[0], output="scores").argmax(0))


def test_class_names_and_colors_are_those_of_the_registered_dataset(tiny_cfg, make_predictor):
    assert make_predictor().class_names == tuple(f"class {index}" for index in range(NUM_CLASSES))
    tiny_cfg.DATASETS.TEST = ("camvid_sem_seg_val",)  # It has 11 classes, the model 5.
    assert make_predictor().class_names[0] == "class 0"
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 11
    predictor = make_predictor()
    assert predictor.class_names[:2] == ("sky", "building") and predictor.num_classes == 11
    assert predictor.class_colors[0] == (128, 128, 128) and len(predictor.class_colors) == 11


def test_a_model_trained_on_a_folder_needs_only_its_list_of_classes(tiny_cfg, make_predictor, tmp_path):
    make_predictor()
    tiny_cfg.DATASETS.FOLDER, tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = "/gone", ("folder_train",), ()
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    (tmp_path / "classes.txt").write_text("\n".join("abcde"))
    with pytest.raises(ValueError, match="/gone"):
        SegViTPredictor(tmp_path / "config.yaml", tmp_path / "model.pth")
    opts = ["DATASETS.FOLDER", str(tmp_path)]
    assert SegViTPredictor(tmp_path / "config.yaml", tmp_path / "model.pth", opts=opts).class_names == tuple("abcde")


def test_the_config_is_not_changed(tiny_cfg, make_predictor):
    untouched = tiny_cfg.clone()
    predictor = make_predictor(opts=["INPUT.MIN_SIZE_TEST", 64])
    assert tiny_cfg == untouched and predictor.cfg.INPUT.MIN_SIZE_TEST == 64
    assert not predictor.model.training


def test_a_config_that_asks_for_several_scales_is_refused(tiny_cfg, make_predictor):
    tiny_cfg.TEST.AUG.ENABLED = True
    with pytest.raises(UserError, match=r"TEST\.AUG\.ENABLED: .* set it to False"):
        make_predictor()
    assert make_predictor(opts=["TEST.AUG.ENABLED", False]).cfg.TEST.AUG.ENABLED is False


def test_a_config_is_given_by_path_or_name(tmp_path):
    narrow = ["MODEL.VIT.EMBED_DIM", 24, "MODEL.SEGVIT.HIDDEN_DIM", 12, "MODEL.VIT.NUM_HEADS", 2]
    path = find_config("toy_scenes")
    weights = save_weights(load_config(path, narrow), tmp_path)
    for cfg in (path, str(path), "toy_scenes", "quick_schedules/toy_scenes.yaml"):
        assert SegViTPredictor(cfg, weights, opts=narrow).num_classes == 10


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"weights": None}, "weights"),
        ({"weights": "nowhere.pth"}, r"nowhere\.pth"),
        ({"array_format": "HSV"}, "array_format 'HSV'"),
        ({"opts": ["MODEL.DEVICE", "cuda:99"]}, "MODEL.DEVICE 'cuda:99'"),
        ({"opts": ["MODEL.NOTHING", 1]}, "there is no config key MODEL.NOTHING"),
        ({"opts": ["INPUT.MIN_SIZE_TEST", "wide"]}, "INPUT.MIN_SIZE_TEST takes a whole number such as 0, not 'wide'"),
        ({"opts": ["TEST.CONFIDENCE_TEMPERATURE", -1.0]}, "TEST.CONFIDENCE_TEMPERATURE"),
        ({"opts": ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", 7]}, "NUM_CLASSES"),
        ({"cfg": "camvid/segvit_scratch_320x24"}, "camvid/segvit_scratch_320x240"),
    ],
)
def test_invalid_arguments_of_the_constructor_are_named(tiny_cfg, tmp_path, keywords, message):
    arguments = {"cfg": tiny_cfg, "weights": save_weights(tiny_cfg, tmp_path), **keywords}
    with pytest.raises((ValueError, OSError), match=message):
        SegViTPredictor(**arguments)


def test_invalid_arguments_of_a_call_are_named(make_predictor, images):
    predictor = make_predictor()
    with pytest.raises(ValueError, match="output 'colors'"):
        predictor(images[0], output="colors")
    with pytest.raises(ValueError, match="batch_size 0"):
        list(predictor.stream(images, batch_size=0))
    with pytest.raises(ValueError, match="list of images"):
        predictor.batch("image.jpg")
