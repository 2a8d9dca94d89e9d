"""Train a small SegViT on generated toy scenes, evaluate it, and draw its predictions and learning curve.

python projects/SegViT/demo/toy_demo.py [--output FOLDER] [KEY VALUE ...]
"""

from __future__ import annotations

import segvit  # noqa: F401  (before torch: it sets how CPU threads wait)

# isort: split
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils.env import seed_all_rng
from tabulate import tabulate

from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser
from segvit.config.first_config import require_no_first_config
from segvit.d2 import load_config
from segvit.dataset_tools.toy_scenes import generate_toy_scenes
from segvit.engine import Trainer
from segvit.engine.hooks.progress_bar import ProgressBar
from segvit.engine.preflight import preflight
from segvit.engine.run_folder import clear, locked, require_own_folder, write_config
from segvit.engine.run_setup import next_command, set_up_logging
from segvit.inference.predict_sample import predict_sample
from segvit.model_folder.files import MODEL_FOLDER
from segvit.output_files import require_folder
from segvit.visualization import draw_prediction_sheet, draw_training_curves

CONFIG_FILE = Path(__file__).parents[1] / "configs" / "quick_schedules" / "toy_scenes.yaml"


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output/demo"),
        metavar="FOLDER",
        help="the folder for all results (default: output/demo)",
    )
    parser.add_overrides()
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    args = build_parser().parse_args(argv)
    cfg = load_config(CONFIG_FILE, args.opts)
    require_no_first_config(cfg, remedy="set MODEL.WEIGHTS to its final weights")
    preflight(cfg, trains=True)
    require_folder(args.output, origin="--output")
    # The demo replaces its own results, which lie beside its dataset, and those of no other run.
    require_own_folder(args.output, overwrite=Path(args.output, "datasets", "toy_scenes").is_dir())
    with locked(args.output):
        run(cfg, args.output)


def run(cfg: CfgNode, output: Path) -> None:
    """Train, evaluate and draw into the folder `output`, then print the metrics."""
    start = time.perf_counter()
    clear(output)
    cfg.OUTPUT_DIR = str(output)
    write_config(cfg)
    os.environ["DETECTRON2_DATASETS"] = str(output / "datasets")
    set_up_logging(str(output))
    seed_all_rng(cfg.SEED)
    generate_toy_scenes(output / "datasets")
    train(cfg)
    cfg.MODEL.WEIGHTS = str(output / "model_final.pth")
    minutes = (time.perf_counter() - start) / 60
    report(cfg, output, minutes)


def train(cfg: CfgNode) -> None:
    trainer = Trainer(cfg)
    trainer.register_hooks([ProgressBar()])
    trainer.resume_or_load(resume=False)
    trainer.train()


def report(cfg: CfgNode, output: Path, minutes: float) -> None:
    """Draw the learning curve and some predictions, and print and write the table of metrics."""
    dataset = cfg.DATASETS.TEST[0]
    metadata = MetadataCatalog.get(dataset)
    draw_training_curves([output], output / "curve.png")
    draw_prediction_sheet(
        predict_sample(cfg, dataset, num_images=5),
        metadata.stuff_classes,
        metadata.stuff_colors,
        output / "overlays.png",
    )
    metrics = json.loads((output / "sem_seg_evaluation.json").read_text())["metrics"]
    rows = [(name, metrics[f"IoU-{name}"], metrics[f"ACC-{name}"]) for name in metadata.stuff_classes]
    rows.append(("mean", metrics["mIoU"], metrics["mACC"]))
    table = tabulate(rows, ("class", "IoU", "accuracy"), "simple", floatfmt=".1f")
    (output / "evaluation.txt").write_text(table + "\n")
    print(f"\n{table}\n\nmIoU {metrics['mIoU']:.1f} on {dataset} after {minutes:.1f} minutes")
    for name in ("overlays.png", "curve.png", "evaluation.txt", MODEL_FOLDER, "log.txt"):
        print(f"  {output / name}")
    print(next_command(output / MODEL_FOLDER, demo=Path(__file__).with_name("demo.py")))


if __name__ == "__main__":
    main()
