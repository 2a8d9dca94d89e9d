"""`ProgressBar`: one `tqdm` bar over all iterations, with the loss and the latest mIoU."""

from __future__ import annotations

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
            dynamic_ncols=True,
            # A file gets a line every half minute, not ten per second.
            mininterval=0.1 if sys.stderr.isatty() else 30,
        )

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        values = {label: f"{latest[name][0]:.2f}" for label, name in METRICS.items() if name in latest}
        self._bar.set_postfix(values, refresh=False)
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()
