"""The other commands, each asked for something that it cannot do."""

from cases import CONFIG, WEIGHTS, both, checkpoint, cut, nothing, tool, written
from checkpoint_cases import pickled

SHEET = (*CONFIG, "--output", "HOME/output/sheet.png")
TOKENS = (*CONFIG, "--input", "HOME/data/images/val/f.png", "--output", "HOME/output")
REPORT = ("HOME/data", "--output", "HOME/output")
REPORT_FILES = ("contact_sheet.png", "histogram.png", "report.json")
CURVES = ("HOME/data", "--output", "HOME/output/a.png")
ABLATIONS = ("--run", "atm_mask", "--output", "HOME/output")
BACKBONES = (*CONFIG, "--output", "HOME/output", "--backbones")
HEADS = (*CONFIG, "--output", "HOME/output")
EXPORT = (*CONFIG, "--format", "torchscript", "--output", "HOME/output/m.pt")
VAL_IMAGE = "HOME/data/images/val/f.png"
DEMO = (*CONFIG, "--input", "HOME/data/images/val/f.png", "--output")
VIT = "vit_tiny_patch16_224"
ROW = ("--output", "HOME/output", "--row", "plain", "HOME/config.yaml")
FIRST_CONFIG = "SOLVER.FIRST_CONFIG"
OTHER_TEST_SET = ("--row", "other", "HOME/config.yaml", "DATASETS.TEST", "('folder_train',)")


def each(command, *rows):
    """Cases of a command: rows of (name, mentions, arguments[, step[, files left]])."""
    return [tool(command, *row) for row in rows]


ANALYSIS = [
    *each(
        "analyze_model",
        ("no config", "--config-file", ()),
        ("input size of 0", "--input-size 0", (*CONFIG, "--input-size", "0", "32")),
        ("flag after the pairs", "--json KEY VALUE SEED", (*CONFIG, "SEED", "1", "--json")),
        ("stage beyond the depth", "MODEL.VIT.OUT_INDICES [7]", (*CONFIG, "MODEL.VIT.OUT_INDICES", "[7]")),
    ),
    *each(
        "benchmark",
        ("0 rounds", "--rounds 0", (*CONFIG, "--rounds", "0")),
        ("unknown variant", "'lineer'", (*CONFIG, "--against", "lineer")),
        ("unknown device", "--device 'tpuu'", (*CONFIG, "--device", "tpuu")),
        ("bands without labels", "'linear-bands' --labels", (*CONFIG, "--against", "linear-bands")),
        ("plot without an extension", "HOME/output/a .png", (*CONFIG, "--plot", "HOME/output/a")),
        (
            "scene for the mix",
            "--present 'diagonal' MODEL.SEGVIT.OUTPUT",
            (*CONFIG, "--labels", "--present", "2", "MODEL.SEGVIT.OUTPUT", "mix"),
        ),
        ("training without a baseline", "--train --against", (*CONFIG, "--train")),
    ),
    *each(
        "plot_training",
        ("no run", "HOME/data/metrics.json OUTPUT_DIR", CURVES),
        ("no loss yet", "HOME/data/metrics.json", CURVES, written("data/metrics.json", "[]\n{\n")),
    ),
]

PREDICTIONS = [
    *each(
        "draw_predictions",
        ("no weights", "MODEL.WEIGHTS", SHEET),
        ("code", "HOME/model.pkl code", (*SHEET, "MODEL.WEIGHTS", "HOME/model.pkl"), pickled("model.pkl")),
        (
            "damaged image",
            "HOME/data/images/val/f.png damaged",
            (*SHEET, *WEIGHTS),
            both(checkpoint(), cut("images/val/f.png")),
        ),
        (
            "file in place of a folder",
            "--output 'HOME/config.yaml'",
            (*CONFIG, "--output", "HOME/config.yaml/sheet.png", *WEIGHTS),
            checkpoint(),
        ),
    ),
    *each(
        "draw_tokens",
        ("no weights", "MODEL.WEIGHTS --model --weights", TOKENS),
        ("unknown class", "--classes 'gras' grass", (*TOKENS, "--classes", "gras", *WEIGHTS), checkpoint()),
        (
            "missing image",
            "--input HOME/no.png",
            (*CONFIG, "--input", "HOME/no.png", "--output", "HOME/output", *WEIGHTS),
        ),
        (
            "windows",
            "TEST.WINDOW.ENABLED whole",
            (*TOKENS, *WEIGHTS, "TEST.WINDOW.ENABLED", "True"),
            checkpoint(),
        ),
        (
            "two images with one stem",
            "--input 'f'",
            (*CONFIG, "--input", VAL_IMAGE, VAL_IMAGE, "--output", "HOME/output", *WEIGHTS),
            checkpoint(),
        ),
        ("code", "HOME/model.pkl code", (*TOKENS, "MODEL.WEIGHTS", "HOME/model.pkl"), pickled("model.pkl")),
    ),
    *each(
        "evaluate_edges",
        ("no weights", "MODEL.WEIGHTS --model --weights", CONFIG),
        ("test scales", "TEST.AUG.ENABLED whole", (*CONFIG, *WEIGHTS, "TEST.AUG.ENABLED", "True")),
        ("no edge head", "MODEL.VIT.REDUCTION 'none' 'shrunk++'", (*CONFIG, *WEIGHTS)),
    ),
    *each(
        "convert_official_checkpoint",
        ("missing file", "HOME/a.pth", ("HOME/a.pth", "HOME/b.pth")),
        ("checkpoint of ours", "model", ("HOME/model.pth", "HOME/b.pth"), checkpoint()),
        ("existing output", "HOME/model.pth --overwrite", ("HOME/config.yaml", "HOME/model.pth"), checkpoint()),
    ),
    *each(
        "demo",
        ("no weights", "weights MODEL.WEIGHTS", (*DEMO, "HOME/output")),
        ("file in place of a folder", "--output 'HOME/config.yaml'", (*DEMO, "HOME/config.yaml")),
        ("code", "HOME/model.pkl code", (*DEMO, "HOME/output", "--weights", "HOME/model.pkl"), pickled("model.pkl")),
        (
            "no dataset in a config of three classes",
            "DATASETS.FOLDER /nowhere",
            ("--config-file", "HOME/own.yaml", *DEMO[2:], "HOME/output"),
            written(
                "own.yaml",
                "_BASE_: config.yaml\nDATASETS: {FOLDER: /nowhere}\nMODEL: {SEM_SEG_HEAD: {NUM_CLASSES: 3}}\n",
            ),
        ),
    ),
    *each("app", ("Gradio's public link", "--share", ("--config-file", "HOME/config.yaml", "--share"))),
]

EXPORTS = each(
    "export_model",
    (
        "wrong extension",
        "--output HOME/output/m.pt .onnx",
        (*CONFIG, "--format", "onnx", "--output", "HOME/output/m.pt"),
    ),
    (
        "existing output",
        "--output HOME/m.pt --overwrite",
        (*CONFIG, "--format", "torchscript", "--output", "HOME/m.pt"),
        written("m.pt", ""),
    ),
    (
        "existing weights of OpenVINO",
        "HOME/m.bin exists --overwrite",
        (*CONFIG, "--format", "openvino", "--output", "HOME/m.xml"),
        written("m.bin", ""),
    ),
    ("no weights", "MODEL.WEIGHTS", EXPORT),
    ("0 rounds", "--rounds 0", (*EXPORT, "--rounds", "0")),
    ("pairs after the images", "MODEL.WEIGHTS", (*EXPORT, "--images", "HOME/data/images/val", *WEIGHTS)),
    ("video", "HOME/a.mp4 video", (*EXPORT, "--images", "HOME/a.mp4"), written("a.mp4", "")),
    (
        "damaged image",
        "HOME/data/images/val/f.png damaged",
        (*CONFIG, "--images", "HOME/data/images/val", *EXPORT[2:], *WEIGHTS),
        both(checkpoint(), cut("images/val/f.png")),
    ),
    (
        "image that is too small",
        "HOME/data/images/val/e.JPEG 8 11 17",
        (*CONFIG, "--images", "HOME/data/images/val", *EXPORT[2:], *WEIGHTS, "INPUT.MIN_SIZE_TEST", "8"),
        checkpoint(),
    ),
)

DATA = [
    *each(
        "check_dataset",
        ("unknown dataset", "'camvid_sem_seg' camvid_sem_seg_val", ("camvid_sem_seg",)),
        ("missing folder", "'HOME/nowhere'", ("HOME/nowhere",)),
        (
            "file in place of the report folder",
            "--output 'HOME/config.yaml'",
            ("HOME/data", "--output", "HOME/config.yaml"),
        ),
        ("0 workers", "--workers 0", (*REPORT, "--workers", "0")),
        ("palette without a conversion", "--palette --convert-to", (*REPORT, "--palette", "HOME/palette.json")),
        ("unlisted without a conversion", "--unlisted-as-ignored --convert-to", (*REPORT, "--unlisted-as-ignored")),
        (
            "ignore value of a registered dataset",
            "--ignore-value 0 'camvid_sem_seg_val'",
            ("camvid_sem_seg_val", "--ignore-value", "0"),
        ),
        (
            "missing palette",
            "HOME/no.json",
            (*REPORT, "--convert-colors", "HOME/new", "--palette", "HOME/no.json"),
            nothing,
            REPORT_FILES,
        ),
        (
            "palette that is not JSON",
            "HOME/config.yaml name color",
            (*REPORT, "--convert-colors", "HOME/new", "--palette", "HOME/config.yaml"),
            nothing,
            REPORT_FILES,
        ),
        ("existing folder", "HOME/data", (*REPORT, "--convert-colors", "HOME/data"), nothing, REPORT_FILES),
    ),
    *each(
        "generate_toy_scenes",
        ("file in place of the folder", "--root 'HOME/config.yaml'", ("--root", "HOME/config.yaml")),
        ("0 scenes", "--num-train 0", ("--root", "HOME/output", "--num-train", "0")),
        ("negative seed", "--seed -1", ("--root", "HOME/output", "--seed", "-1")),
    ),
    *each("prepare_ade20k_sem_seg", ("0 workers", "--workers 0", ("--workers", "0"))),
    *each("prepare_coco_stuff_10k", ("negative workers", "--workers -1", ("--workers", "-1"))),
    *each(
        "prepare_pascal_context",
        ("unknown source", "--source 'xml' 'json'", ("--source", "xml")),
        (
            "half a JSON",
            "HOME/voc/trainval_merged.json",
            ("--voc", "HOME/voc", "--workers", "1"),
            written("voc/trainval_merged.json", "{"),
        ),
        (
            "labels.txt without ids",
            "HOME/voc/labels.txt aeroplane",
            ("--voc", "HOME/voc", "--workers", "1"),
            both(written("voc/labels.txt", "aeroplane\n"), written("voc/trainval/a.mat", "")),
        ),
    ),
]

SERIES = [
    *each(
        "run_ablations",
        ("unknown group", "--run decoders atm_mask", ("--run", "decoders", "--output", "HOME/output")),
        ("negative seed", "--seeds -1", (*ABLATIONS, "--seeds", "-1")),
        ("repeated seed", "--seeds 3 twice", (*ABLATIONS, "--seeds", "3", "4", "3")),
        (
            "unknown dataset",
            "'camvid_sem_seg_tests' camvid_sem_seg_test",
            (*ABLATIONS, "DATASETS.TRAIN", "('camvid_sem_seg_tests',)"),
        ),
    ),
    *each(
        "cross_validate",
        ("no regular expression", "--groups '('", (*CONFIG, "--groups", "(")),
        ("no group in a name", "--groups 'x' 6", (*CONFIG, "--groups", "x")),
    ),
    *each(
        "compare_backbones",
        ("duplicate", "--backbones", (*BACKBONES, VIT, VIT)),
        (
            "hierarchical backbone",
            "MODEL.BACKBONE.NAME 'PlainViT'",
            (*BACKBONES, VIT, "MODEL.BACKBONE.NAME", "HierarchicalViT"),
        ),
    ),
    *each(
        "compare_heads",
        ("unknown head", "--heads mask2former", (*HEADS, "--heads", "mask2former")),
        ("reduced tokens", "MODEL.VIT.REDUCTION 'none'", (*HEADS, "MODEL.VIT.REDUCTION", "shrunk")),
    ),
    *each(
        "plot_pareto",
        ("no model", "--row plain", ("--row", "plain", "--output", "HOME/output")),
        ("unknown model", "'nothing_384' config", ("--row", "plain", "nothing_384", "--output", "HOME/output")),
        ("device of a row", "--row MODEL.DEVICE CPU", (*ROW, "MODEL.DEVICE", "cuda")),
        ("value missing", "--row MODEL.VIT.REDUCTION KEY VALUE", (*ROW, "MODEL.VIT.REDUCTION")),
        ("two rows of one name", "--row plain", (*ROW, "--row", "plain", "HOME/config.yaml")),
        ("missing file", "HOME/a.onnx", ("--row", "plain", "HOME/a.onnx", "--output", "HOME/output")),
        ("two test sets", "folder_train folder_val", (*ROW, *OTHER_TEST_SET)),
        ("a model twice", "HOME/config.yaml twice", (*ROW, "HOME/config.yaml")),
    ),
    *each(
        "toy_demo",
        ("unknown key", "SOLVER.MAX_ITR SOLVER.MAX_ITER", ("--output", "HOME/output", "SOLVER.MAX_ITR", "1")),
        ("file in place of the folder", "--output 'HOME/config.yaml'", ("--output", "HOME/config.yaml")),
        ("a first training", FIRST_CONFIG, ("--output", "HOME/output", FIRST_CONFIG, "quick_schedules/toy_scenes")),
    ),
]

KEY = "MODEL.SEGVIT.CONTINUAL"
PROTOCOL = (*CONFIG, f"{KEY}.PROTOCOL")
CONTINUAL = each(
    "train_continual",
    ("no config", "--config-file", ()),
    ("no protocol", f"{KEY}.PROTOCOL '100-50'", CONFIG),
    ("--eval-only", "train_net.py --eval-only", (*CONFIG, "--eval-only")),
    ("unknown method", "--method joints finetune", (*CONFIG, "--method", "joints")),
    ("classes without a model", "--classes sky --model", (*CONFIG, "--classes", "sky")),
    ("too many classes", f"{KEY}.PROTOCOL '2-2' 4 3", (*PROTOCOL, "2-2")),
    ("missing step", f"{KEY}.STEP 5 0 1", (*PROTOCOL, "2-1", f"{KEY}.STEP", "5")),
    ("repeated class name", f"{KEY}.CLASSES sky", (*PROTOCOL, "2-1", f"{KEY}.CLASSES", "['sky','road','sky']")),
    ("unknown selection", f"{KEY}.SELECTION 'all' 'disjoint'", (*PROTOCOL, "2-1", f"{KEY}.SELECTION", "all")),
)

TOOL_CASES = [*ANALYSIS, *PREDICTIONS, *EXPORTS, *DATA, *SERIES, *CONTINUAL]
