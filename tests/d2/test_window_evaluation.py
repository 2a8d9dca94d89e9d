"""Evaluation of whole models by sliding windows, and labels without scores (TEST.WINDOW, TEST.LABELS_ONLY).

Shape shorthand: H x W pixels, K classes.
"""

import pytest
import torch

from helpers.labels import assert_labels_are_argmax
from helpers.tiny_models import build, segment, use_windows, without_labels

NUM_CLASSES = 5


@pytest.mark.parametrize("size", [(53, 90), (29, 90), (70, 31), (64, 96)])
def test_scores_are_the_average_over_the_windows(tiny_cfg, make_input, size):
    """Each window is segmented as a single image here; the last ones end at the border."""
    whole, inputs = build(tiny_cfg), without_labels(make_input(*size))
    use_windows(tiny_cfg)
    (scores,) = segment(build(tiny_cfg), inputs)
    total, count = torch.zeros(NUM_CLASSES, *size), torch.zeros(size)
    for top in range(0, max(size[0] - 32, 0) + 21, 21):
        for left in range(0, max(size[1] - 48, 0) + 32, 32):
            bottom, right = min(top + 32, size[0]), min(left + 48, size[1])
            rows, columns = slice(max(bottom - 32, 0), bottom), slice(max(right - 48, 0), right)
            if top - rows.start >= 21 or left - columns.start >= 32:
                continue  # the window before it reached the border
            total[:, rows, columns] += segment(whole, {"image": inputs["image"][:, rows, columns]})[0]
            count[rows, columns] += 1
    torch.testing.assert_close(scores, total / count)


@pytest.mark.parametrize("size", [(32, 48), (29, 43), (7, 9)])
def test_one_window_equals_the_whole_image(tiny_cfg, make_input, size):
    inputs = without_labels(make_input(*size), height=60, width=50)
    (whole,) = segment(build(tiny_cfg), inputs)
    use_windows(tiny_cfg)
    torch.testing.assert_close(segment(build(tiny_cfg), inputs)[0], whole)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("on_cpu", [False, True])
def test_batches_of_windows_equal_one_by_one(tiny_cfg, make_input, batch_size, on_cpu):
    sizes = [(53, 90), (29, 43), (53, 90)]
    inputs = [without_labels(make_input(*size, seed=seed)) for seed, size in enumerate(sizes)]
    use_windows(tiny_cfg)
    expected = [segment(build(tiny_cfg), one)[0] for one in inputs]
    use_windows(tiny_cfg, BATCH_SIZE=batch_size, ACCUMULATE_ON_CPU=on_cpu)
    for scores, one in zip(segment(build(tiny_cfg), *inputs), expected, strict=True):
        torch.testing.assert_close(scores, one, rtol=1e-5, atol=1e-5)


def test_windows_do_not_change_training(tiny_cfg, make_input):
    plain = build(tiny_cfg).train()([make_input(32, 48)])
    use_windows(tiny_cfg)
    assert build(tiny_cfg).train()([make_input(32, 48)]) == plain


@pytest.mark.parametrize("output", ["mix", "diagonal"])
@pytest.mark.parametrize("windows", [False, True])
@pytest.mark.parametrize("output_size", [(53, 90), (80, 120), (20, 31)])
def test_labels_without_scores_are_the_argmax_of_the_scores(
    tiny_cfg, make_input, monkeypatch, windows, output_size, output
):
    """In bands of seven rows; "diagonal" without windows uses the pruned argmax."""
    tiny_cfg.MODEL.SEGVIT.OUTPUT = output
    monkeypatch.setattr(
        "segvit.modeling.postprocessing.score_bands.ELEMENTS_PER_BAND", 7 * NUM_CLASSES * output_size[1]
    )
    if windows:
        use_windows(tiny_cfg)
    inputs = without_labels(make_input(53, 90), height=output_size[0], width=output_size[1])
    (scores,) = segment(build(tiny_cfg), inputs)
    tiny_cfg.TEST.LABELS_ONLY = True
    with torch.no_grad():
        (result,) = build(tiny_cfg)([inputs])
    assert set(result) == {"sem_seg_labels"}
    assert result["sem_seg_labels"].dtype == torch.int64
    assert_labels_are_argmax(result["sem_seg_labels"], scores)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"STRIDE": [33, 32]}, r"TEST\.WINDOW\.STRIDE \[33, 32\] .* leave gaps"),
        ({"STRIDE": [0, 32]}, r"TEST\.WINDOW\.STRIDE \[0, 32\]"),
        ({"SIZE": [32]}, r"TEST\.WINDOW\.SIZE \[32\]"),
        ({"BATCH_SIZE": 0}, r"TEST\.WINDOW\.BATCH_SIZE 0"),
    ],
)
def test_invalid_window_keys_are_refused(tiny_cfg, settings, message):
    use_windows(tiny_cfg, **settings)
    with pytest.raises(ValueError, match=message):
        build(tiny_cfg)
