"""Where documented commands are run."""

import itertools
import os
import shlex
import subprocess
import threading
from concurrent.futures import Future

from documents import ROOT

from helpers.processes import TIMEOUT_SECONDS


class Workspace:
    """A folder that looks like the repository's root to commands, and what has been run in it."""

    def __init__(self, folder, data, python):
        """Args: `python` are the variables of `forked_python`."""
        self.folder = folder
        for name in ("projects", "datasets", "scripts"):
            (folder / name).symlink_to(ROOT / name)
        self.environment = {
            **os.environ,
            "DETECTRON2_DATASETS": str(data),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            **python,
        }
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._done = {}

    def once(self, key, run):
        """Call `run` the first time that a key is asked for, whoever asks; its result or exception every time."""
        with self._lock:
            is_first = key not in self._done
            future = self._done.setdefault(key, Future())
        if is_first:
            try:
                future.set_result(run())
            except Exception as error:
                future.set_exception(error)
        return future.result()

    def own_output(self):
        """What makes a run write where no other does: runs in one folder would remove each other's unfinished files."""
        return {"OUTPUT_DIR": f"output/run{next(self._numbers)}"}

    def log_of(self, output):
        """The log of the run in a folder of the workspace."""
        return (self.folder / output / "log.txt").read_text(encoding="utf-8")

    def shell(self, command, overrides=None):
        """Run a command with KEY VALUE pairs after it -> its standard output. It must succeed."""
        pairs = shlex.join(item for pair in (overrides or {}).items() for item in pair)
        line = f"{command} {pairs}".replace("\\\n", " ")
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout
