"""`ProgressBar`: one `tqdm` bar over all iterations, with the loss and the latest mIoU."""

from __future__ import annotations

import os
import shutil
import sys

from detectron2.engine import HookBase
from tqdm import tqdm

# Label on the bar -> name in the event storage.
METRICS = {"loss": "total_loss", "mIoU": "sem_seg/mIoU"}


class ProgressBar(HookBase):
    """Show progress on the terminal, for runs that a person watches; the logs hold the same figures."""

    def before_train(self) -> None:
        self._bar = tqdm(
            total=self.trainer.max_iter,
            initial=self.trainer.start_iter,
            desc="training",
            unit="it",
            **_size(),
            # A file gets a line every half minute, not ten per second.
            mininterval=0.1 if sys.stderr.isatty() else 30,
        )

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        values: dict[str, str] = {}
        for name, (value, _) in latest.items():
            for label, metric in METRICS.items():
                if name == metric or name.endswith(f"/{metric}"):
                    values.setdefault(label, f"{value:.2f}")  # of the first test set, as for model_best.pth
        self._bar.set_postfix(values, refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()


def _size() -> dict[str, int | bool]:
    """The size of the bar: that of the terminal or, where it reports 0 columns, as in containers, 80 or COLUMNS."""
    try:
        known = os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # A file, or no stream of the system, has no width.
        known = True
    return {"dynamic_ncols": True} if known else {"ncols": shutil.get_terminal_size().columns, "nrows": 24}
