"""The options of a job of several processes: its parser, and the checks on them before `launch`."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from yacs.config import CfgNode

from segvit.checkpoint.checkpointer import has_checkpoint
from segvit.command_line.model_arguments import add_any_model, config_file_of, config_of, model_name
from segvit.command_line.parser import CommandParser
from segvit.config.first_config import FIRST, KEY, first_config, run_name
from segvit.config.loading import config_layers
from segvit.config.overrides import pairs_of, words_of
from segvit.engine.run_folder import CONFIG
from segvit.errors import UserError
from segvit.model_folder.files import MODEL_FOLDER, is_model_folder
from segvit.model_folder.finding import holds_model

# The environment variables that torchrun sets in each process.
TORCHRUN_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def argument_parser(description: str | None = None) -> CommandParser:
    """The options of a command that trains: those of Detectron2's, the model, and --output."""
    parser = CommandParser(description=description)
    add_any_model(parser)
    add = parser.add_argument
    add("--output", type=Path, metavar="FOLDER", help="the folder of the run (default: OUTPUT_DIR of the config)")
    add("--resume", action="store_true", help="continue from the newest checkpoint in OUTPUT_DIR (default: start anew)")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS and do not train (default: train)")
    add(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="processes on this machine: one per GPU or, without a GPU, per CPU core (default: 1)",
    )
    add("--num-machines", type=int, default=1, metavar="N", help="machines of the job (default: 1)")
    add("--machine-rank", type=int, default=0, metavar="I", help="index of this machine, from 0 (default: 0)")
    add(
        "--dist-url",
        default="auto",
        metavar="URL",
        help="where the processes meet, such as tcp://HOST:PORT; machines need one, a single machine does not "
        "(default: auto)",
    )
    parser.add_overrides(trains=True)
    return parser


def add_overwrite(parser: CommandParser, *, default: str) -> None:
    """Add --overwrite, with what happens without it."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="start a new run in an OUTPUT_DIR that holds another one, whose checkpoints, metrics and predictions are "
        f"deleted (default: {default})",
    )


def run_config(args: argparse.Namespace) -> CfgNode:
    """The config of a run: that of the model, its overrides, and --output as OUTPUT_DIR.

    Raises:
        UserError: see `config_of`; a model folder names no folder for the run, --output and OUTPUT_DIR differ, or a
            training would write into a model folder.
    """
    cfg = _read_run_config(args)
    if not args.eval_only and is_model_folder(cfg.OUTPUT_DIR):
        raise UserError(
            f"OUTPUT_DIR {cfg.OUTPUT_DIR!r} is a model folder, whose config and metrics a training would replace: "
            "choose another one"
        )
    return cfg


def _read_run_config(args: argparse.Namespace) -> CfgNode:
    chosen = dict(zip(args.opts[::2], args.opts[1::2])).get("OUTPUT_DIR")
    # Keys of the command line belong to further configs (see `parts_of`).
    output, shared = args.output, getattr(args, "shared", False)
    if output is None and chosen is None and args.model and holds_model(args.model):
        if not args.eval_only:
            raise UserError(f"--model {args.model} is trained further: name a folder for it by --output")
        output = Path("output", "evaluation", evaluated_name(Path(args.model)))
    if output is None:
        return config_of(args, shared=shared, trains=not args.eval_only)
    if chosen is not None and Path(chosen) != output:
        raise UserError(f"--output {output} and OUTPUT_DIR {chosen} differ: leave one out")
    return config_of(args, [*args.opts, "OUTPUT_DIR", str(output)], shared=shared, trains=not args.eval_only)


def parts_of(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The trainings of a command line, one after another: that of SOLVER.FIRST_CONFIG, if there is one, and its own.

    Keys of the command line belong to all of them; one that the first config does not read is a warning there. If the
    command resumes, a first training that has ended is left out.

    Raises:
        UserError: see `run_config` and `first_config`; a config is trained before itself.
    """
    return _parts_of(args, ())


def _parts_of(args: argparse.Namespace, later: tuple[Path, ...]) -> list[argparse.Namespace]:
    """The trainings of a command line that comes before those of the files `later`."""
    cfg = run_config(args)
    file = None if args.eval_only else first_config(cfg, config_layers(config_file_of(args)))
    if file is None:
        return [args]
    if file.resolve() in later:
        raise UserError(f"{KEY}: {file} would be trained before itself")
    opts = {key: value for key, value in pairs_of(args.opts).items() if key != KEY}
    folder = Path(cfg.OUTPUT_DIR, FIRST)
    begun = {**opts, KEY: "", "MODEL.WEIGHTS": str(folder / "model_final.pth")}
    resumes, recorded = args.resume and has_checkpoint(cfg.OUTPUT_DIR), Path(cfg.OUTPUT_DIR, CONFIG)
    if resumes and recorded.is_file():
        # As the run recorded them: its folder may have been moved since, or be given in another way.
        begun["MODEL.WEIGHTS"] = config_layers(recorded)[-1][1].get("MODEL.WEIGHTS", begun["MODEL.WEIGHTS"])
    own = argparse.Namespace(**{**vars(args), "opts": words_of(begun)})
    if resumes or (args.resume and (folder / "model_final.pth").is_file()):
        return [own]
    opts.pop("OUTPUT_DIR", None)
    changed = {"model": None, "config_file": str(file), "output": folder, "opts": words_of(opts), "shared": True}
    try:
        first = _parts_of(argparse.Namespace(**{**vars(args), **changed}), (*later, file.resolve()))
    except UserError as error:
        raise UserError(f"{KEY}, of {model_name(args)}: {str(error).removeprefix(f'{KEY}: ')}") from error
    return [*first, own]


def evaluated_name(model: Path) -> str:
    """The name of a model folder, or of the run that it belongs to."""
    folder = model.resolve()
    return run_name(folder.parent if folder.name == MODEL_FOLDER else folder)


def started_by_torchrun() -> bool:
    """Whether torchrun started this process (also if it started only one)."""
    return all(name in os.environ for name in TORCHRUN_VARIABLES)


def number_of_processes(args: argparse.Namespace) -> int:
    """The number of processes of the whole job.

    Raises:
        UserError: if the number is below 1, if it is given both here and to torchrun, if the rank of this machine is
            none of the job's, or if there are several machines and no address of the first one.
    """
    if min(args.num_gpus, args.num_machines) < 1:
        raise UserError(f"--num-gpus {args.num_gpus} and --num-machines {args.num_machines} must be at least 1")
    if started_by_torchrun():
        if args.num_gpus * args.num_machines > 1 or args.machine_rank or args.dist_url != "auto":
            raise UserError(
                "torchrun has started the processes: leave out --num-gpus, --num-machines, --machine-rank, --dist-url"
            )
        return int(os.environ["WORLD_SIZE"])
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank {args.machine_rank} must be from 0 to {args.num_machines - 1}, below --num-machines"
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise UserError(
            f"--num-machines {args.num_machines} needs the address of the first one and a free port there: "
            "--dist-url tcp://ADDRESS:PORT"
        )
    return args.num_gpus * args.num_machines


def require_gpu_per_process(device: str, processes: int) -> None:
    """Raise UserError if MODEL.DEVICE puts all of several processes on one GPU."""
    if processes > 1 and re.fullmatch(r"cuda:\d+", device):
        raise UserError(
            f"MODEL.DEVICE {device} puts all {processes} processes on one GPU: set MODEL.DEVICE cuda, by which each "
            "process takes its own; CUDA_VISIBLE_DEVICES chooses among the GPUs"
        )
