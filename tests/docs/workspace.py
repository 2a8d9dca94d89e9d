"""Where documented commands are run."""

import itertools
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

from documents import ROOT


class Workspace:
    """A folder that looks like the repository's root to commands, and what has been run in it."""

    def __init__(self, folder, data):
        self.folder = folder
        for name in ("projects", "datasets", "scripts"):
            (folder / name).symlink_to(ROOT / name)
        self.environment = {
            **os.environ,
            "DETECTRON2_DATASETS": str(data),
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
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

    def shell(self, command, overrides=None):
        """Run a command in bash with KEY VALUE pairs behind it -> its standard output. It must succeed."""
        pairs = shlex.join(item for pair in (overrides or {}).items() for item in pair)
        process = subprocess.run(
            ["bash", "-c", f"{command} {pairs}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert process.returncode == 0, f"{command} {pairs}\n{process.stdout[-2000:]}\n{process.stderr[-4000:]}"
        return process.stdout
