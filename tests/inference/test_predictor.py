"""The predictor's contract: what goes in and what comes out.

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

from segvit.config.shipped import find_config
from segvit.d2 import load_config
from segvit.inference import SegViTPredictor

NUM_CLASSES = 5
SIZES = [(30, 43), (53, 90), (30, 43), (17, 64), (48, 48), (53, 90), (9, 11)]


def save_weights(cfg, folder):
    """Random ones, which take no class for likelier than another: masks alone decide, and several classes win."""
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
def pictures():
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def use_windows(cfg):
    cfg.TEST.WINDOW.ENABLED, cfg.TEST.WINDOW.SIZE, cfg.TEST.WINDOW.STRIDE = True, [32, 48], [24, 32]


def use_shrunk_pp(cfg):
    vit = cfg.MODEL.VIT
    vit.REDUCTION, vit.REDUCTION_BLOCK, vit.OUT_INDICES, vit.EDGE.THRESHOLD = "shrunk++", 1, [0, 2], 0.5
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["block2", "block0"]
    cfg.MODEL.SEGVIT.QUERY_UPSAMPLING, cfg.MODEL.SEGVIT.UPSAMPLING_LAYERS = "nearest", 1


def use_resize(cfg):
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 32, 64


def use_bgr(cfg):
    cfg.INPUT.FORMAT = "BGR"


CHANGES = [lambda cfg: None, use_resize, use_windows, use_shrunk_pp, use_bgr]


@pytest.mark.parametrize("change", CHANGES)
def test_labels_and_scores_are_those_of_the_default_predictor(tiny_cfg, make_predictor, pictures, change):
    change(tiny_cfg)
    predictor = make_predictor()
    tiny_cfg.MODEL.WEIGHTS = predictor.cfg.MODEL.WEIGHTS
    default = DefaultPredictor(tiny_cfg)
    for picture in pictures[:2]:
        labels, scores = predictor(picture), predictor(picture, output="scores")
        assert labels.shape == picture.shape[:2] and labels.dtype == np.uint8
        assert scores.shape == (NUM_CLASSES, *labels.shape) and scores.dtype == np.float32
        assert np.array_equal(labels, scores.argmax(0)) and len(np.unique(labels)) > 1
        expected = default(picture)["sem_seg"].numpy()
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_votes_of_all_queries(tiny_cfg, make_predictor, pictures):
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "mix"
    predictor = make_predictor()
    assert np.array_equal(predictor(pictures[0]), predictor(pictures[0], output="scores").argmax(0))


def test_every_kind_of_picture_is_the_same_picture(make_predictor, pictures, tmp_path):
    bgr = pictures[0]
    rgb = np.ascontiguousarray(bgr[:, :, ::-1])
    Image.fromarray(rgb).save(tmp_path / "picture.png")
    predictor = make_predictor()
    expected = predictor(bgr)
    for picture in (tmp_path / "picture.png", str(tmp_path / "picture.png"), Image.fromarray(rgb)):
        assert np.array_equal(predictor(picture), expected)
    assert np.array_equal(make_predictor(array_format="RGB")(rgb), expected)


def test_pictures_stay_as_they_are(make_predictor, pictures):
    kept = pictures[0].copy()
    make_predictor()(pictures[0])
    assert np.array_equal(pictures[0], kept)
    read_only = pictures[0][::-1]
    read_only.flags.writeable = False
    assert make_predictor()(read_only).shape == read_only.shape[:2]


@pytest.mark.parametrize("output", ["labels", "scores"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_streams_equal_one_by_one(make_predictor, pictures, batch_size, output):
    predictor = make_predictor()
    expected = [predictor(picture, output=output) for picture in pictures]
    streamed = list(predictor.stream(iter(pictures), output=output, batch_size=batch_size))
    assert all(came is went for (came, _), went in zip(streamed, pictures, strict=True))
    for results in (predictor.batch(pictures, output=output), [result for _, result in streamed]):
        for result, one in zip(results, expected, strict=True):
            if output == "scores":
                np.testing.assert_allclose(result, one, rtol=1e-4, atol=1e-5)
            else:
                assert (result == one).mean() > 0.99  # classes of equal score may swap with the rounding


def test_nothing_in_nothing_out(make_predictor):
    predictor = make_predictor()
    assert predictor.batch([]) == [] and list(predictor.stream([])) == []


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_stream_holds_two_batches(make_predictor, batch_size):
    """However long it is: a picture is let go once its labels are."""
    alive, most = weakref.WeakSet(), 0

    class Counted(np.ndarray):  # NumPy's own arrays cannot be hashed
        __hash__ = object.__hash__

    def camera():
        for index in range(20):
            picture = np.full((8, 8, 3), index, dtype=np.uint8).view(Counted)
            alive.add(picture)
            yield picture
            del picture

    for picture, _ in make_predictor().stream(camera(), batch_size=batch_size):
        most = max(most, len(alive))
        del picture
    assert batch_size < most <= 2 * batch_size + 1


def test_a_stream_may_be_left(make_predictor, pictures):
    stream = make_predictor().stream(pictures)
    next(stream)
    stream.close()


def test_a_picture_that_cannot_be_read(make_predictor, pictures, tmp_path):
    missing, text = tmp_path / "missing.png", tmp_path / "text.png"
    text.write_text("no picture")
    predictor = make_predictor()
    with pytest.raises(FileNotFoundError, match=r"missing\.png"):
        predictor(missing)
    with pytest.raises(ValueError, match=r"text\.png: no picture"):
        predictor.batch([pictures[0], text])
    stream, seen = predictor.stream([pictures[0], pictures[1], text, pictures[2]], batch_size=4), []
    with pytest.raises(ValueError, match=r"text\.png: no picture"):
        seen.extend(labels for _, labels in stream)
    skipped, several = [], [missing, pictures[0], text, pictures[1]]
    stream = predictor.stream(several, batch_size=2, on_error=lambda *pair: skipped.append(pair))
    assert [labels.shape for _, labels in stream] == [SIZES[0], SIZES[1]]
    assert [picture for picture, _ in skipped] == [missing, text]
    assert [type(error) for _, error in skipped] == [FileNotFoundError, ValueError]


def test_results_before_a_picture_that_cannot_be_read(make_predictor, pictures, tmp_path):
    seen = []
    with pytest.raises(FileNotFoundError):
        for _, labels in make_predictor().stream([*pictures[:2], tmp_path / "missing.png"], batch_size=4):
            seen.append(labels)
    assert [labels.shape for labels in seen] == SIZES[:2]


def test_results_before_an_error_of_the_iterable(make_predictor, pictures):
    def broken():
        yield from pictures
        raise ConnectionError("gone")

    seen = []
    with pytest.raises(ConnectionError, match="gone"):
        for _, labels in make_predictor().stream(broken(), batch_size=2):
            seen.append(labels)
    assert len(seen) == len(pictures)


@pytest.mark.parametrize("change", CHANGES)
def test_threads_share_a_predictor(tiny_cfg, make_predictor, pictures, change):
    change(tiny_cfg)
    predictor = make_predictor()
    expected = [predictor(picture, output="scores") for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(predictor, picture, output="scores") for _ in range(4) for picture in pictures]
        labels = [pool.submit(predictor, picture) for picture in pictures]
        for future, scores in zip(futures, expected * 4, strict=True):
            np.testing.assert_allclose(future.result(), scores, rtol=1e-4, atol=1e-5)
        for future, scores in zip(labels, expected, strict=True):
            assert (future.result() == scores.argmax(0)).mean() > 0.99


def test_more_classes_than_a_byte_holds(tiny_cfg, make_predictor, pictures):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, tiny_cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 300, 65535
    predictor = make_predictor()
    labels = predictor(pictures[0])
    assert labels.dtype == np.int32
    assert np.array_equal(labels, predictor(pictures[0], output="scores").argmax(0))


def test_classes_of_a_known_data_set(tiny_cfg, make_predictor):
    assert make_predictor().class_names == tuple(f"class {index}" for index in range(NUM_CLASSES))
    tiny_cfg.DATASETS.TEST = ("camvid_sem_seg_val",)  # which has other classes than this model
    assert make_predictor().class_names[0] == "class 0"
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 11
    predictor = make_predictor()
    assert predictor.class_names[:2] == ("sky", "building") and predictor.num_classes == 11
    assert predictor.class_colors[0] == (128, 128, 128) and len(predictor.class_colors) == 11


def test_the_list_of_classes_is_all_that_is_needed_of_a_folder(tiny_cfg, make_predictor, tmp_path):
    """A model that was trained on a folder runs on a machine that does not have its images."""
    make_predictor()
    tiny_cfg.DATASETS.FOLDER, tiny_cfg.DATASETS.TRAIN, tiny_cfg.DATASETS.TEST = "/gone", ("folder_train",), ()
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    (tmp_path / "classes.txt").write_text("\n".join("abcde"))
    with pytest.raises(ValueError, match="no folder /gone"):
        SegViTPredictor(tmp_path / "config.yaml", tmp_path / "model.pth")
    opts = ["DATASETS.FOLDER", str(tmp_path)]
    assert SegViTPredictor(tmp_path / "config.yaml", tmp_path / "model.pth", opts=opts).class_names == tuple("abcde")


def test_the_config_stays_as_it_is(tiny_cfg, make_predictor):
    untouched = tiny_cfg.clone()
    predictor = make_predictor(opts=["INPUT.MIN_SIZE_TEST", 64])
    assert tiny_cfg == untouched and predictor.cfg.INPUT.MIN_SIZE_TEST == 64
    assert not predictor.model.training


def test_a_config_by_path_and_by_name(tmp_path):
    narrow = ["MODEL.VIT.EMBED_DIM", 24, "MODEL.SEGVIT.HIDDEN_DIM", 12, "MODEL.VIT.NUM_HEADS", 2]
    path = find_config("toy_scenes")
    weights = save_weights(load_config(path, narrow), tmp_path)
    for cfg in (path, str(path), "toy_scenes", "quick_schedules/toy_scenes.yaml"):
        assert SegViTPredictor(cfg, weights, opts=narrow).num_classes == 10


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"weights": None}, "there are no weights"),
        ({"weights": "nowhere.pth"}, r"nowhere\.pth"),
        ({"array_format": "HSV"}, "array_format 'HSV' must be 'BGR' or 'RGB'"),
        ({"opts": ["MODEL.DEVICE", "cuda:99"]}, "MODEL.DEVICE 'cuda:99'"),
        ({"opts": ["MODEL.SEM_SEG_HEAD.NUM_CLASSES", 7]}, "NUM_CLASSES 5 in the file, 7 in the config"),
        ({"cfg": "camvid/segvit_scratch_320x24"}, "near: camvid/segvit_scratch_320x240"),
    ],
)
def test_what_cannot_be_built(tiny_cfg, tmp_path, keywords, message):
    arguments = {"cfg": tiny_cfg, "weights": save_weights(tiny_cfg, tmp_path), **keywords}
    with pytest.raises((ValueError, OSError), match=message):
        SegViTPredictor(**arguments)


def test_wrong_arguments(make_predictor, pictures):
    predictor = make_predictor()
    with pytest.raises(ValueError, match="output 'colors' must be"):
        predictor(pictures[0], output="colors")
    with pytest.raises(ValueError, match="batch_size 0 must be"):
        list(predictor.stream(pictures, batch_size=0))
    with pytest.raises(ValueError, match="batch takes a list of pictures: call the predictor itself"):
        predictor.batch("picture.jpg")
