"""`World`: a user's folder with a dataset, a config and checkpoints, in which commands are called in this process.

Shape shorthand: H x W pixels.
"""

import contextlib
import io
import logging
import sys
from dataclasses import dataclass
from functools import cache

import torch
from detectron2.modeling import build_model
from PIL import Image

from helpers.folders import write_folder
from helpers.repository import ROOT
from helpers.scripts import load_script
from segvit.d2 import load_config
from segvit.dataset_tools.toy_scenes import generate_toy_scenes
from segvit.engine.run_setup import LOGGED

PROJECT = ROOT / "projects" / "SegViT"
TOOLS = PROJECT / "tools"
# Where a command has moved, its new folder is in front of the former one.
FOLDERS = [PROJECT, PROJECT / "benchmarks", TOOLS / "tokens", TOOLS, PROJECT / "demo", ROOT / "datasets"]
LOGGERS = [logging.getLogger(name) for name in LOGGED]

CONFIG = """\
VERSION: 2
MODEL:
  DEVICE: cpu
  VIT: {{NAME: vit_tiny_patch16_224, IMG_SIZE: [24, 32], OUT_INDICES: [0, 1], PATCH_SIZE: 8, EMBED_DIM: 24, DEPTH: 2,
         NUM_HEADS: 2, DROP_PATH_RATE: 0.0}}
  SEM_SEG_HEAD: {{NUM_CLASSES: 0, IN_FEATURES: [block1, block0]}}
  SEGVIT: {{HIDDEN_DIM: 16, NUM_HEADS: 2, NUM_LAYERS: 1}}
DATASETS: {{FOLDER: {home}/data, TRAIN: [folder_train], TEST: [folder_val]}}
INPUT:
  FORMAT: RGB
  MIN_SIZE_TRAIN: [24]
  MAX_SIZE_TRAIN: 32
  MIN_SIZE_TEST: 0
  MAX_SIZE_TEST: 4096
  RESIZE_RATIO_RANGE: [1.0, 1.0]
  CROP: {{ENABLED: True, TYPE: absolute, SIZE: [24, 32]}}
SOLVER: {{IMS_PER_BATCH: 4, BASE_LR: 0.001, MAX_ITER: 2, WARMUP_ITERS: 0}}
DATALOADER: {{NUM_WORKERS: 0}}
TEST: {{EVAL_PERIOD: 2}}
SEED: 1
OUTPUT_DIR: {home}/output
"""


@dataclass(frozen=True)
class Ended:
    """Exit code, error message and output of a command; HOME stands for the user's folder."""

    code: int
    error: str
    stdout: str
    stderr: str


@cache
def load_command(name):
    """A script as a module."""
    path = next(folder / f"{name}.py" for folder in FOLDERS if (folder / f"{name}.py").is_file())
    return load_script(path)


class World:
    """The user's folder `home`: data/ (4 training and 2 validation pairs of 24 x 32), config.yaml, output/."""

    def __init__(self, home):
        self.home = home
        self.data, self.output, self.config = home / "data", home / "output", home / "config.yaml"
        write_folder(self.data)
        self.config.write_text(CONFIG.format(home=home))

    def path(self, text):
        return text.replace("HOME", str(self.home))

    def run(self, name, *arguments):
        """Call a command. `HOME` in arguments stands for the folder."""
        module = load_command(name)
        main = module.command if name.startswith("train_") else module.main
        stdout, stderr = io.StringIO(), io.StringIO()
        argv = sys.argv
        kept = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in LOGGERS]
        for logger in LOGGERS:
            logger.handlers = []  # of other tests, which may write to files that are closed or full
        sys.argv = [f"{name}.py", *(self.path(str(argument)) for argument in arguments)]
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                code = main() or 0
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.argv = argv
            restore_loggers(kept)
        texts = [text.getvalue().replace(str(self.home), "HOME") for text in (stdout, stderr)]
        return Ended(code, texts[1].partition(f"{name}.py: error: ")[2].rstrip("\n"), *texts)

    def register(self):
        """Register the splits of data/, as loading the config does."""
        load_config(self.config)

    def train(self, *arguments):
        return self.run("train_net", "--config-file", self.config, *arguments)

    def written(self):
        """Names of all files and folders in output/, without the lock."""
        return {str(path.relative_to(self.output)) for path in self.output.rglob("*")} - {".lock"}

    def files(self):
        """Names of all files of the user's folder."""
        return {str(path.relative_to(self.home)) for path in self.home.rglob("*") if not path.is_dir()}

    def toy_scenes(self):
        """Generate two toy scenes under DETECTRON2_DATASETS."""
        generate_toy_scenes(self.home / "datasets", num_train=1, num_val=1)

    def save_checkpoint(self, name="model.pth", opts=()):
        """Save a checkpoint of the config's model, untrained."""
        model = build_model(load_config(self.config, opts))
        torch.save({"model": model.state_dict()}, self.home / name)
        return self.home / name

    def replace(self, file, change):
        """Apply `change` to an image of the dataset."""
        path = self.data / file
        with Image.open(path) as image:
            changed = change(image.copy())
        changed.save(path)


def restore_loggers(kept):
    """Undo what a command changed about loggers, and close its log files."""
    for logger, handlers, level, propagate in kept:
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
        logger.handlers = handlers
        logger.level, logger.propagate = level, propagate
