"""A progress bar of the epoch under way, on standard error, gone when the epoch's line is printed."""

from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SHOWN_STEPS = 10
"""Reading a loss waits for the accelerator, so it is shown every so many steps."""


class EpochBar(keras.callbacks.Callback):
    """Steps done, time left and the running loss. steps: of one epoch."""

    def __init__(self, steps: int, epochs: int) -> None:
        super().__init__()
        self._steps, self._epochs = steps, epochs
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(f"epoch {epoch + 1}/{self._epochs}", total=self._steps, loss="")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self._bar is None or batch % SHOWN_STEPS:
            return
        loss = float(np.asarray((logs or {}).get("loss", 0.0)))
        self._bar.update(self._task, completed=batch + 1, loss=f"loss {loss:.4f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back, after an interruption too. Idempotent."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
