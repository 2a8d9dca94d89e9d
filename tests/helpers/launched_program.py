"""A script that the tests of `launch` start: processes write their ranks, fail, leave a thread or wait for SIGTERM."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.utils import comm

from segvit.cli_errors import user_errors
from segvit.engine.launch_options import argument_parser
from segvit.engine.launching import launch
from segvit.errors import UserError
from segvit.progress import progress_bar


def work(args):
    folder, deed = Path(args.opts[0]), args.opts[1]
    rank = comm.get_rank()
    if rank == 1 and deed == "defect":
        raise KeyError("injected")
    if rank == 1 and deed == "explained":
        raise UserError("image.png is damaged")
    if rank == 1 and deed == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "leaves a thread":
        threading.Thread(target=threading.Event().wait).start()
        raise KeyError("injected")
    if deed == "waits":
        signal.signal(signal.SIGTERM, lambda *_: exit(143))
        progress_bar(title="waiting", unit="it", total=1).update()
        (folder / f"pid{rank}").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)
    total = torch.tensor(rank + 1.0)
    dist.all_reduce(total)  # here the other process waits for the one that failed
    seen = {"world": comm.get_world_size(), "local": comm.get_local_rank(), "sum": total.item()}
    (folder / f"rank{rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    with user_errors():
        launch(work, argument_parser().parse_args())
