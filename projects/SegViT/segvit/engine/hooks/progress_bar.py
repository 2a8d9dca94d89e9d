"""A training progress bar with the time left, the loss and the latest mIoU."""

from __future__ import annotations

from detectron2.engine import HookBase
from tqdm import tqdm


class ProgressBar(HookBase):
    """Show one `tqdm` bar over all iterations. For runs that a person watches; logs hold the same figures."""

    def before_train(self) -> None:
        self._bar = tqdm(
            total=self.trainer.max_iter, initial=self.trainer.start_iter, desc="training", unit="it", dynamic_ncols=True
        )

    def after_step(self) -> None:
        latest = self.trainer.storage.latest()
        shown = {"loss": "total_loss", "mIoU": "sem_seg/mIoU"}
        self._bar.set_postfix(
            {name: f"{latest[key][0]:.2f}" for name, key in shown.items() if key in latest}, refresh=False
        )
        self._bar.update()

    def after_train(self) -> None:
        self._bar.close()
