"""What happens at the end of an epoch: validate, keep the best, checkpoint, lower the rate, stop early."""

import contextlib
import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edge.calibration import Calibration, calibrated
from edge.errors import TrainingError
from train import metrics
from train.batch_norm import estimate_statistics
from train.calibration import negative_log_likelihood
from train.checkpoint import load_checkpoint, replace_file, save_checkpoint, value_of, write_text
from train.data import Dataset
from train.learner import Learner
from train.recipe import Recipe

NAN_CHECK_STEPS = 20
"""Looking at a loss waits for the accelerator, so losses are looked at in batches of so many steps."""

EpochCallback = Callable[[int, dict[str, float]], None]


class Bookkeeping(keras.callbacks.Callback):
    """The state of a run besides the network's variables, and the files of its folder."""

    def __init__(
        self, folder: Path, learner: Learner, recipe: Recipe, pictures: NDArray[np.uint8], validation: Dataset
    ) -> None:
        """pictures: (N, S, S) uint8, what batch norms are estimated on for use; none of them: they stay."""
        super().__init__()
        self.folder, self.learner, self.recipe = folder, learner, recipe
        self.pictures, self.validation = pictures, validation
        self.history: list[dict[str, float]] = []
        self.best_accuracy = -1.0
        self.best_epoch = -1
        self.reduced_epoch = 0
        self.notify: EpochCallback | None = None
        self.stopped_early = False
        self._losses: list[tuple[int, Any]] = []
        self._began = 0.0

    # ---- resuming -----------------------------------------------------------------------------------------------

    @property
    def checkpoint(self) -> Path:
        return self.folder / "last.npz"

    @property
    def epochs_done(self) -> int:
        return len(self.history)

    def variables(self, optimizer: keras.Optimizer) -> list[Any]:
        """Everything that changes while training: network, random states, optimizer with its averages."""
        seeds = [generator.state for generator in _seed_generators(self.learner)]
        return [*self.learner.network.variables, *seeds, *optimizer.variables]

    def resume(self, optimizer: keras.Optimizer) -> None:
        """Read the checkpoint back. Raises RunError where it does not fit."""
        self.restore(load_checkpoint(self.checkpoint, self.variables(optimizer)))

    def restore(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self.best_accuracy, self.best_epoch = state["best_accuracy"], state["best_epoch"]
        self.reduced_epoch = state["reduced_epoch"]
        self.stopped_early = state["stopped_early"]

    # ---- while fitting ------------------------------------------------------------------------------------------

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._began = time.monotonic()
        self._losses.clear()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._losses.append((batch, (logs or {}).get("loss", 0.0)))
        if len(self._losses) >= NAN_CHECK_STEPS:
            self._refuse_nan()

    def _refuse_nan(self) -> None:
        for step, loss in self._losses:
            if not math.isfinite(float(np.asarray(loss))):
                raise TrainingError(
                    f"the loss is not a number at epoch {self.epochs_done + 1}, step {step + 1}; the best network and "
                    f"the checkpoint after epoch {self.epochs_done} are kept: lower learning_rate (now "
                    f"{self.recipe.learning_rate}) or set clip_norm, in a new --run folder"
                )
        self._losses.clear()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._refuse_nan()
        row = {
            "epoch": float(epoch + 1),
            "loss": float((logs or {})["loss"]),
            "accuracy": float((logs or {})["accuracy"]),
        }
        row["learning_rate"] = float(np.asarray(self.learner.optimizer.learning_rate))
        with self._as_used():
            row |= validation_scores(self.learner.network, self.validation)
            if row["val_accuracy"] > self.best_accuracy:
                self.best_accuracy, self.best_epoch = row["val_accuracy"], epoch
                replace_file(self.folder / "best.keras", lambda part: self.learner.network.save(part))
        row["seconds"] = time.monotonic() - self._began
        self.history.append(row)
        self._adapt(epoch)
        self._write(epoch)
        if self.notify:
            self.notify(epoch, row)

    @contextlib.contextmanager
    def _as_used(self) -> Iterator[None]:
        """The network as it will be used: weights averaged, batch norms estimated. As it was, afterwards."""
        variables = self.learner.network.variables
        raw = [value_of(variable) for variable in variables]
        if self.recipe.average:
            trainable = self.learner.trainable_variables
            self.learner.optimizer.finalize_variable_values(trainable)
            for variable in trainable:
                # finalize shares the average's own buffer, which JAX's predict would then consume.
                variable.assign(value_of(variable))
        estimate_statistics(self.learner.network, self.pictures)
        yield
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)

    def _adapt(self, epoch: int) -> None:
        """ReduceLROnPlateau and early stopping, on validation accuracy."""
        patience, stop = self.recipe.plateau_epochs, self.recipe.early_stop_epochs
        waited = epoch - max(self.best_epoch, self.reduced_epoch)
        if self.recipe.schedule == "plateau" and waited >= patience:
            rate = self.learner.optimizer.learning_rate
            rate.assign(np.asarray(rate) * self.recipe.plateau_factor)
            self.reduced_epoch = epoch
        if stop and epoch - self.best_epoch >= stop:
            self.stopped_early = self.learner.stop_training = True

    def _write(self, epoch: int) -> None:
        state = {
            "history": self.history,
            "best_accuracy": self.best_accuracy,
            "best_epoch": self.best_epoch,
            "reduced_epoch": self.reduced_epoch,
            "stopped_early": self.stopped_early,
        }
        save_checkpoint(self.checkpoint, self.variables(self.learner.optimizer), state)
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.history[0]))
        writer.writeheader()
        writer.writerows({key: f"{value:.6g}" for key, value in row.items()} for row in self.history)
        write_text(self.folder / "history.csv", text.getvalue())


def validation_scores(network: keras.Model, data: Dataset) -> dict[str, float]:
    """Accuracy and macro-F1 as shares, loss as the mean negative log-likelihood of the labels in nats."""
    logits = network_logits(network, data.images)
    table = metrics.confusion_matrix(data.labels, logits.argmax(axis=1), len(data.classes))
    return {
        "val_accuracy": metrics.accuracy(table),
        "val_macro_f1": metrics.macro(metrics.class_scores(table).f1),
        "val_loss": negative_log_likelihood(calibrated(logits, Calibration()), data.labels),
    }


def network_logits(network: keras.Model, images: NDArray[np.uint8], batch: int = 512) -> NDArray[np.float32]:
    """(N, C) float32 logits of (N, S, S) uint8 grey pictures."""
    pictures = images[..., None].astype(np.float32)
    return np.asarray(network.predict(pictures, batch_size=batch, verbose=0), dtype=np.float32)


def _seed_generators(learner: Learner) -> list[Any]:
    layers = [learner.augment, *learner.network._flatten_layers()]
    found = [getattr(layer, "seed_generator", None) for layer in layers]
    return [generator for generator in found if generator is not None]
