"""The other commands: each told something that it cannot do. None of them writes anything but what it says."""

from cases import WEIGHTS, Case, both, checkpoint, cut, written
from checkpoint_cases import CODE, pickled

CONFIG = ("--config-file", "HOME/config.yaml")
NO_WEIGHTS = "MODEL.WEIGHTS is empty: name a checkpoint, --opts MODEL.WEIGHTS output/model_final.pth"
IS_A_FILE = "HOME/config.yaml is a file, not a folder; choose another path"
SHEET = (*CONFIG, "--output", "HOME/output/sheet.png")
TOKENS = (*CONFIG, "--input", "HOME/data/images/val/f.png", "--output", "HOME/output")
REPORT = ("check_dataset", "HOME/data", "--output", "HOME/output")
ABLATIONS = ("--run", "atm_mask", "--output", "HOME/output")
BACKBONES = (*CONFIG, "--output", "HOME/output", "--backbones")
ENDINGS = ".avif, .eps, .gif, .jpeg, .jpg, .pdf, .pgf, .png, .ps, .raw, .rgba, .svg, .svgz, .tif, .tiff, .webp"
GROUPS = "groups are decoder, levels, stages, sampling, reduction; names are "


def nothing(world):
    """The user's folder as it is."""


def tool(command, name, message, arguments, given=nothing, leaves=()):
    return Case(f"{command}: {name}", message, arguments, given, command=command, leaves=leaves)


ANALYSIS = [
    tool("analyze_model", "no config", "the following arguments are required: --config-file", ()),
    tool(
        "analyze_model",
        "no pixels",
        "argument --input-size: 0 is not a positive number",
        (*CONFIG, "--input-size", "0", "32"),
    ),
    tool(
        "analyze_model",
        "a flag behind the pairs",
        "--json must come before the KEY VALUE pairs, in front of SEED",
        (*CONFIG, "SEED", "1", "--json"),
    ),
    tool(
        "analyze_model",
        "stages outside the depth",
        "MODEL.VIT.OUT_INDICES [7] must name blocks 0 to 1",
        (*CONFIG, "MODEL.VIT.OUT_INDICES", "[7]"),
    ),
    tool("benchmark", "no round", "argument --rounds: 0 is not a positive number", (*CONFIG, "--rounds", "0")),
    tool("benchmark", "an unknown variant", "config file 'lineer' does not exist", (*CONFIG, "--against", "lineer")),
    tool(
        "benchmark",
        "an unknown device",
        "--device 'tpuu' is no device: take cpu, cuda or, of several GPUs, cuda:1",
        (*CONFIG, "--device", "tpuu"),
    ),
    tool(
        "benchmark",
        "bands of scores",
        "'linear-bands' is another way to labels: add --labels, or leave it out",
        (*CONFIG, "--against", "linear-bands"),
    ),
    tool(
        "benchmark",
        "a plot that is no picture",
        f"HOME/output/a: the file name must end in .png, or another of {ENDINGS}",
        (*CONFIG, "--plot", "HOME/output/a"),
    ),
    tool(
        "benchmark",
        "a scene for the mix",
        "--present makes a scene for the output 'diagonal', not for 'mix': set MODEL.SEGVIT.OUTPUT diagonal, "
        "and leave other outputs out",
        (*CONFIG, "--labels", "--present", "2", "MODEL.SEGVIT.OUTPUT", "mix"),
    ),
    tool(
        "benchmark",
        "training of a variant",
        "--train compares linear and config files, in fp32: name some with --against, and leave out --dtype",
        (*CONFIG, "--train"),
    ),
    tool(
        "plot_training",
        "no run",
        "HOME/data/metrics.json does not exist: name the OUTPUT_DIR of a training run",
        ("HOME/data", "--output", "HOME/output/a.png"),
    ),
    tool(
        "plot_training",
        "a run without a step",
        "HOME/data/metrics.json holds no loss yet: there is nothing to draw",
        ("HOME/data", "--output", "HOME/output/a.png"),
        written("data/metrics.json", "[]\n{\n"),
    ),
    tool(
        "plot_training",
        "no picture",
        f"HOME/output/a: the file name must end in .png, or another of {ENDINGS}",
        ("HOME/data", "--output", "HOME/output/a"),
        written("data/metrics.json", '{"iteration": 1, "total_loss": 2.0}\n'),
    ),
]

PREDICTIONS = [
    tool(
        "draw_predictions",
        "no weights",
        "MODEL.WEIGHTS is empty: name the checkpoint whose predictions are to be drawn",
        SHEET,
    ),
    tool(
        "draw_predictions",
        "code",
        f"HOME/model.pkl contains code, {CODE}",
        (*SHEET, "MODEL.WEIGHTS", "HOME/model.pkl"),
        pickled("model.pkl"),
    ),
    tool(
        "draw_predictions",
        "half an image",
        "HOME/data/images/val/f.png: not an image, or damaged (image file is truncated): download it again, or remove "
        "it from the dataset",
        (*SHEET, *WEIGHTS),
        both(checkpoint(), cut("images/val/f.png")),
    ),
    tool(
        "draw_predictions",
        "a file for a folder",
        f"--output 'HOME/config.yaml': {IS_A_FILE}",
        (*CONFIG, "--output", "HOME/config.yaml/sheet.png", *WEIGHTS),
        checkpoint(),
    ),
    tool("draw_tokens", "no weights", NO_WEIGHTS, TOKENS),
    tool(
        "draw_tokens",
        "an unknown class",
        "--classes: the dataset has no class 'gras'; near: grass, road",
        (*TOKENS, "--classes", "gras", "--opts", *WEIGHTS),
    ),
    tool(
        "draw_tokens",
        "no image",
        "--input: no such file: HOME/no.png",
        (*CONFIG, "--input", "HOME/no.png", "--output", "HOME/output", "--opts", *WEIGHTS),
    ),
    tool(
        "draw_tokens",
        "a text for an image",
        "HOME/config.yaml: not an image, or damaged (in no image format that Pillow reads): download it again, or "
        "remove it from the dataset",
        (*CONFIG, "--input", "HOME/config.yaml", "--output", "HOME/output", "--opts", *WEIGHTS),
        checkpoint(),
    ),
    tool(
        "draw_tokens",
        "code",
        f"HOME/model.pkl contains code, {CODE}",
        (*TOKENS, "--opts", "MODEL.WEIGHTS", "HOME/model.pkl"),
        pickled("model.pkl"),
    ),
    tool("evaluate_edges", "no weights", NO_WEIGHTS, CONFIG),
    tool(
        "evaluate_edges",
        "no edge head",
        "MODEL.VIT.REDUCTION 'none' has no edge head: only 'shrunk++' has",
        (*CONFIG, "--opts", *WEIGHTS),
    ),
    tool("convert_official_checkpoint", "no file", "HOME/a.pth does not exist", ("HOME/a.pth", "HOME/b.pth")),
    tool(
        "convert_official_checkpoint",
        "ours",
        "not a state dict: these entries are not tensors: model",
        ("HOME/model.pth", "HOME/b.pth"),
        checkpoint(),
    ),
    tool(
        "convert_official_checkpoint",
        "over a file",
        "HOME/model.pth exists; --overwrite replaces it",
        ("HOME/config.yaml", "HOME/model.pth"),
        checkpoint(),
    ),
    tool(
        "convert_official_checkpoint",
        "into no folder",
        "there is no folder HOME/output",
        ("HOME/model.pth", "HOME/output/b.pth", "--to-official"),
        checkpoint(),
    ),
]

DATA = [
    tool(
        "check_dataset",
        "no dataset",
        "'camvid_sem_seg' is neither a folder nor the name (or first part of the name) of a semantic segmentation "
        "dataset whose folder exists; near: "
        "camvid_sem_seg_val, camvid_sem_seg_test, camvid_sem_seg_train",
        ("camvid_sem_seg",),
    ),
    tool(
        "check_dataset",
        "no folder",
        "folder 'HOME/nowhere' does not exist",
        ("HOME/nowhere",),
    ),
    tool(
        "check_dataset",
        "a file for the report",
        f"--output 'HOME/config.yaml': {IS_A_FILE}",
        ("HOME/data", "--output", "HOME/config.yaml"),
    ),
    tool(
        "check_dataset", "no process", "argument --workers: 0 is not a positive number", (*REPORT[1:], "--workers", "0")
    ),
    tool(
        "check_dataset",
        "no palette",
        "palette HOME/no.json does not exist",
        (*REPORT[1:], "--convert-colors", "HOME/new", "--palette", "HOME/no.json"),
        leaves=("contact_sheet.png", "histogram.png", "report.json"),
    ),
    tool(
        "check_dataset",
        "a palette of another form",
        'HOME/config.yaml: must be a JSON list of {"name": ..., "color": [r, g, b]}',
        (*REPORT[1:], "--convert-colors", "HOME/new", "--palette", "HOME/config.yaml"),
        leaves=("contact_sheet.png", "histogram.png", "report.json"),
    ),
    tool(
        "check_dataset",
        "over a folder",
        "HOME/data exists: name a new folder, or remove this one first",
        (*REPORT[1:], "--convert-colors", "HOME/data"),
        leaves=("contact_sheet.png", "histogram.png", "report.json"),
    ),
    tool(
        "generate_toy_scenes",
        "a file for the folder",
        f"--root 'HOME/config.yaml': {IS_A_FILE}",
        ("--root", "HOME/config.yaml"),
    ),
    tool(
        "generate_toy_scenes",
        "no scene",
        "argument --num-train: 0 is not a positive number",
        ("--root", "HOME/output", "--num-train", "0"),
    ),
    tool(
        "generate_toy_scenes",
        "a negative seed",
        "argument --seed: -1 is negative",
        ("--root", "HOME/output", "--seed", "-1"),
    ),
]

RUNS = [
    tool(
        "run_ablations",
        "an unknown group",
        f"--run decoders: {GROUPS}per_pixel_ce, atm_ce, atm_mask, levels_2_5, levels_2_3_5, levels_0_2_3_5, "
        f"three_atm_last_level, qd_conv_q, qd_nearest_qkv, qd_qu_nearest, qd, qd_qu, eqd_qu",
        ("--run", "decoders", "--output", "HOME/output"),
    ),
    tool("run_ablations", "no seed", "--seeds -1: seeds are whole numbers from 0", (*ABLATIONS, "--seeds", "-1")),
    tool(
        "run_ablations",
        "an unknown dataset",
        "unknown dataset 'camvid_sem_seg_tests'; near: camvid_sem_seg_test, camvid_sem_seg_train, camvid_sem_seg_val",
        (*ABLATIONS, "DATASETS.TEST", "('camvid_sem_seg_tests',)", "DATASETS.TRAIN", "('camvid_sem_seg_tests',)"),
    ),
    tool(
        "compare_backbones",
        "one twice",
        "--backbones must name one or more encoders, each once",
        (*BACKBONES, "vit_tiny_patch16_224", "vit_tiny_patch16_224"),
    ),
    tool(
        "compare_backbones",
        "another backbone",
        "MODEL.BACKBONE.NAME 'HierarchicalViT' cannot be compared: set it to 'PlainViT'",
        (*BACKBONES, "vit_tiny_patch16_224", "MODEL.BACKBONE.NAME", "HierarchicalViT"),
    ),
    tool(
        "toy_demo",
        "an unknown key",
        "there is no config key SOLVER.MAX_ITR (the nearest is SOLVER.MAX_ITER)",
        ("--output", "HOME/output", "SOLVER.MAX_ITR", "1"),
    ),
    tool(
        "toy_demo",
        "a file for the folder",
        f"--output 'HOME/config.yaml': {IS_A_FILE}",
        ("--output", "HOME/config.yaml"),
    ),
]

TOOL_CASES = [*ANALYSIS, *PREDICTIONS, *DATA, *RUNS]
