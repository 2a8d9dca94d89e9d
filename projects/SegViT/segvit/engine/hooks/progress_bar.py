"""`ProgressBar`: one bar over all iterations, with the loss and the latest mIoU."""

from __future__ import annotations

from detectron2.engine import HookBase

from segvit.progress import progress_bar

# Label on the bar -> name in the event storage.
METRICS = {"loss": "total_loss", "mIoU": "sem_seg/mIoU"}


class ProgressBar(HookBase):
    """Show progress on the terminal, for runs that a person watches; the logs hold the same figures."""

    def before_train(self) -> None:
        self._bar = progress_bar(
            title="training", unit="it", total=self.trainer.max_iter, start=self.trainer.start_iter
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
