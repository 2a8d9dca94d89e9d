"""Keys that are read only with some value of another key: elsewhere a changed value is refused, and both are named."""

import pytest

from helpers.repository import CONFIGS
from segvit.config.conditional_keys import RULES
from segvit.config.model_keys import MODEL_KEYS
from segvit.config.training_keys import TRAINING_KEYS
from segvit.config.unread_keys import flat
from segvit.d2 import get_segvit_cfg, load_config
from segvit.errors import UserError

BASE = CONFIGS / "Base-SegViT.yaml"
TOY = CONFIGS / "quick_schedules" / "toy_scenes.yaml"

# Our keys that are read in every config, or whose effect docs/configuration.md limits: PRETRAINED by MODEL.WEIGHTS,
# DROP_PATH_RATE by FROZEN, TF32 to GPUs. A new key belongs into these or into a rule.
ALWAYS_READ = {
    *("MODEL.META_ARCHITECTURE", "MODEL.BACKBONE.NAME", "MODEL.COMPILE"),
    *("MODEL.SEM_SEG_HEAD.NAME", "MODEL.SEM_SEG_HEAD.IN_FEATURES"),
    *("MODEL.VIT.NAME", "MODEL.VIT.PRETRAINED", "MODEL.VIT.IMG_SIZE", "MODEL.VIT.OUT_INDICES", "MODEL.VIT.FINAL_NORM"),
    *("MODEL.VIT.DROP_PATH_RATE", "MODEL.VIT.REDUCTION", "MODEL.VIT.FROZEN", "MODEL.VIT.STEM", "MODEL.VIT.PATCH_SIZE"),
    *("MODEL.VIT.EMBED_DIM", "MODEL.VIT.DEPTH", "MODEL.VIT.NUM_HEADS", "MODEL.VIT.INIT_STD"),
    *("MODEL.SEGVIT.OUTPUT", "MODEL.SEGVIT.LOSS", "MODEL.SEGVIT.CLASS_WEIGHT", "MODEL.SEGVIT.MASK_LOSS_STRIDE"),
    "MODEL.SEGVIT.CLASS_WEIGHTS",
    *("MODEL.SEGVIT.CONTINUAL.PROTOCOL", "MODEL.SEGVIT.CONTINUAL.GROUPS"),
    # Of datasets "hf:...", whose registration checks them.
    *("DATASETS.HF_COLUMNS", "DATASETS.HF_CLASSES", "DATASETS.HF_REDUCE_LABELS"),
    "INPUT.AUGMENTATION",
    *("DATASETS.FOLDER", "INPUT.DATASET_MAPPER_NAME", "INPUT.RESIZE_RATIO_RANGE", "INPUT.RESIZE_RATIO_SAMPLING"),
    *(
        "INPUT.CHANNELS",
        "INPUT.LEVELS",
        "INPUT.SHOWN_CHANNELS",
        "INPUT.PHOTOMETRIC_STRENGTH",
        "INPUT.GAMMA_RANGE",
        "INPUT.WHITE_BALANCE",
    ),
    "INPUT.BLUR_SIGMA",
    *("SOLVER.DECODER_LR_MULTIPLIER", "SOLVER.NO_WEIGHT_DECAY", "SOLVER.LR_SCHEDULER_NAME", "SOLVER.AMP.ENABLED"),
    "TRACKING.TO",
    *("SOLVER.TF32", "SOLVER.ACCUM_STEPS", "SOLVER.EMA.ENABLED", "SOLVER.NON_FINITE"),
    *("TEST.WINDOW.ENABLED", "TEST.PRECISION", "TEST.LABELS_ONLY", "TEST.BOUNDARY_IOU", "TEST.SAVE_PREDICTIONS"),
    "TEST.CONFIDENCE_TEMPERATURE",
}
# Values that differ from the defaults and pass the other checks, and values of a switch with which no rule is met.
CHANGED = {
    "SOLVER.FIRST_CONFIG": "quick_schedules/toy_scenes",
    "TRACKING.PROJECT": "'a'",
    "TRACKING.NAME": "'a'",
    "MODEL.COMPILE_MODE": "'fewest-kernels'",
    "MODEL.VIT.REDUCTION_SAMPLING": "'conv_q'",
    "MODEL.VIT.EDGE.SELECTION": "'topk'",
    "MODEL.VIT.MERGE.SELECTION": "'threshold'",
    "MODEL.VIT.MERGE.GLOBAL_BLOCKS": "[2]",
    "MODEL.SEGVIT.QUERY_UPSAMPLING": "'learned'",
    "MODEL.SEGVIT.DETAIL.SOURCE": "'image'",
    "MODEL.SEGVIT.CLASSIFIER": "'segmenter'",
    "MODEL.SEGVIT.HIDDEN_DIM": "96",
    "MODEL.SEGVIT.NUM_HEADS": "6",
    "MODEL.SEGVIT.CONTINUAL.CLASS_ORDER": "[0]",
    "MODEL.SEGVIT.CONTINUAL.BACKGROUND_CLASS": "a",
    "MODEL.SEGVIT.CONTINUAL.CLASSES": "['a']",
    "MODEL.SEGVIT.CONTINUAL.ITERATIONS": "[5]",
    "MODEL.SEGVIT.CONTINUAL.IN_FEATURES": "['block5']",
    "MODEL.SEGVIT.CONTINUAL.QUERY_UPSAMPLING": "'learned'",
    "MODEL.SEGVIT.CONTINUAL.HIDDEN_DIM": "96",
    "INPUT.PERCENTILES": "[2.0, 98.0]",
    "INPUT.CROP.TYPE": "'relative'",
    "INPUT.CROP.SIZE": "[0.5, 0.5]",
    "SOLVER.STEPS": "(5,)",
    "SOLVER.WARMUP_METHOD": "'constant'",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "'norm'",
    "MODEL.VIT.FROZEN_PRECISION": "'bfloat16'",
    "SOLVER.AMP.PRECISION": "'bfloat16'",
    "MODEL.SEGVIT.CONTINUAL.SELECTION": "'disjoint'",
    "MODEL.SEGVIT.CONTINUAL.CALIBRATION": "'bias'",
    "TEST.WINDOW.SIZE": "[256, 256]",
    "TEST.WINDOW.STRIDE": "[256, 256]",
    "TEST.AUG.MIN_SIZES": "(32,)",
    "DATASETS.TRAIN_REPEAT_FACTOR": "[['a', 2.0]]",
}
# Values of switches with which no rule is met; by default those of the base config.
OFF = {
    "MODEL.WEIGHTS": "model.pth",
    "MODEL.BACKBONE.NAME": "'HierarchicalViT'",
    "MODEL.SEM_SEG_HEAD.NAME": "'PerPixelHead'",
    "MODEL.SEGVIT.LOSS": "'pixel'",
    "MODEL.VIT.FROZEN": "True",
    "SOLVER.LR_SCHEDULER_NAME": "'WarmupStepWithFixedGammaLR'",
    "SOLVER.WARMUP_ITERS": "0",
    "SOLVER.CLIP_GRADIENTS.ENABLED": "False",
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "'value'",
    "SOLVER.AMP.ENABLED": "False",
    "INPUT.CROP.ENABLED": "False",
    "INPUT.LEVELS": "'raw'",
    "INPUT.MIN_SIZE_TEST": "0",
}
# For some keys, another value of the switch, and those of the switches of the key's other rules.
EDGES = {"MODEL.VIT.REDUCTION": "'shrunk++'"}
MERGE = {"MODEL.VIT.REDUCTION": "'merge'"}
OFF_FOR = {
    ("MODEL.VIT.EDGE.THRESHOLD", "MODEL.VIT.EDGE.SELECTION"): EDGES | {"MODEL.VIT.EDGE.SELECTION": "'topk'"},
    ("MODEL.VIT.EDGE.SHARE", "MODEL.VIT.EDGE.SELECTION"): EDGES,
    ("MODEL.VIT.MERGE.SHARE", "MODEL.VIT.MERGE.SELECTION"): MERGE | {"MODEL.VIT.MERGE.SELECTION": "'threshold'"},
    ("MODEL.VIT.MERGE.THRESHOLD", "MODEL.VIT.MERGE.SELECTION"): MERGE,
    ("MODEL.VIT.MERGE.GLOBAL_SHARE", "MODEL.VIT.MERGE.SELECTION"): MERGE
    | {"MODEL.VIT.MERGE.SELECTION": "'threshold'", "MODEL.VIT.MERGE.GLOBAL_BLOCKS": "[2]"},
    ("MODEL.VIT.MERGE.GLOBAL_THRESHOLD", "MODEL.VIT.MERGE.SELECTION"): MERGE | {"MODEL.VIT.MERGE.GLOBAL_BLOCKS": "[2]"},
    ("MODEL.VIT.MERGE.GLOBAL_SHARE", "MODEL.VIT.MERGE.GLOBAL_BLOCKS"): MERGE,
    ("MODEL.VIT.MERGE.GLOBAL_THRESHOLD", "MODEL.VIT.MERGE.GLOBAL_BLOCKS"): MERGE
    | {"MODEL.VIT.MERGE.SELECTION": "'threshold'"},
    ("MODEL.SEGVIT.EDGE_WEIGHT", "MODEL.VIT.FROZEN"): EDGES,
    ("MODEL.SEGVIT.EDGE_CLASS_WEIGHT", "MODEL.VIT.FROZEN"): EDGES,
    ("MODEL.VIT.FROZEN_PRECISION", "MODEL.VIT.FROZEN"): {"MODEL.VIT.FROZEN": "False"},
    ("MODEL.SEGVIT.CLASSIFIER", "MODEL.SEM_SEG_HEAD.NAME"): {"MODEL.SEM_SEG_HEAD.NAME": "'AttentionToMaskHead'"},
    ("SOLVER.NUM_DECAYS", "SOLVER.LR_SCHEDULER_NAME"): {"SOLVER.LR_SCHEDULER_NAME": "'WarmupPolyLR'"},
    ("SOLVER.GAMMA", "SOLVER.LR_SCHEDULER_NAME"): {"SOLVER.LR_SCHEDULER_NAME": "'WarmupPolyLR'"},
    ("TEST.PRECISE_BN.ENABLED", "SOLVER.EMA.ENABLED"): {"SOLVER.EMA.ENABLED": "True", "MODEL.VIT.STEM": "'conv'"},
}
OFF_FOR["INPUT.PERCENTILES", "INPUT.LEVELS"] = {"INPUT.LEVELS": "'8bit'"}
PAIRS = [(key, rule) for rule in RULES for key in rule.keys]


def changed(key):
    value = flat(get_segvit_cfg())[key]
    if key in CHANGED:
        return CHANGED[key]
    return str(not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 0.5 or 0.5)


def off(key, rule):
    """Overrides with which this rule for the key is not met."""
    pairs = {switch: OFF[switch] for switch in rule.switches if switch in OFF} | OFF_FOR.get(
        (key, rule.switches[0]), {}
    )
    return [item for pair in pairs.items() for item in pair]


def test_every_key_of_ours_is_in_a_rule_or_always_read():
    own = {key.name for key in (*MODEL_KEYS, *TRAINING_KEYS)}
    ruled = {key for key, _ in PAIRS}
    assert own - ruled == ALWAYS_READ


@pytest.mark.parametrize(("key", "rule"), PAIRS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_key_that_is_not_read_is_refused_with_both_names(key, rule):
    with pytest.raises(UserError, match="would have no effect") as refused:
        load_config(BASE, [*off(key, rule), key, changed(key)])
    message = str(refused.value)
    assert message.startswith(f"{key} ") and any(switch in message for switch in rule.switches)


@pytest.mark.parametrize("key", ["MODEL.SEGVIT.DETAIL.STRIDE", "MODEL.VIT.EDGE.SHARE"])
def test_a_key_in_a_file_is_refused_too(key, tmp_path):
    path = tmp_path / "own.yaml"
    group, _, name = key.rpartition(".")
    nested = f"{{{name}: {changed(key)}}}"
    for part in reversed(group.split(".")):
        nested = f"{{{part}: {nested}}}"
    path.write_text(f"_BASE_: {TOY}\n{nested[1:-1]}\n")
    with pytest.raises(UserError, match=key):
        load_config(path)


@pytest.mark.parametrize(
    "opts",
    [
        ["INPUT.CROP.ENABLED", "False"],
        ["SOLVER.CLIP_GRADIENTS.ENABLED", "False"],
        ["SOLVER.WARMUP_ITERS", "0"],
        ["MODEL.SEGVIT.LOSS", "pixel", "MODEL.SEGVIT.OUTPUT", "softmax"],
    ],
    ids=lambda opts: opts[0],
)
def test_a_switch_that_is_turned_off_later_is_no_mistake(opts):
    load_config(TOY, opts)


def test_test_scales_and_windows_of_a_file_wait_for_their_switch(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(f"_BASE_: {TOY}\nTEST: {{WINDOW: {{STRIDE: [64, 64]}}, AUG: {{MIN_SIZES: [64]}}}}\n")
    assert load_config(path).TEST.AUG.MIN_SIZES == (64,)
    assert load_config(path, ["TEST.WINDOW.ENABLED", "True"]).TEST.WINDOW.STRIDE == [64, 64]


def test_overrides_of_several_configs_need_no_switch_in_each_of_them(caplog):
    load_config(TOY, ["MODEL.VIT.EDGE.SELECTION", "topk"], shared=True)
    assert "MODEL.VIT.EDGE.SELECTION" in caplog.text and "MODEL.VIT.REDUCTION" in caplog.text


def test_the_saved_config_of_a_run_is_read_with_a_warning(tmp_path, caplog):
    path = tmp_path / "config.yaml"
    cfg = load_config(TOY, ["INPUT.CROP.ENABLED", "False"])
    path.write_text(cfg.dump())
    assert flat(load_config(path)) == flat(cfg)
    assert "INPUT.CROP.SIZE" in caplog.text and "INPUT.CROP.ENABLED" in caplog.text
