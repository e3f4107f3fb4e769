"""The model that is fitted: augmentation, the network, and its teachers where there are any, in one step.

What is saved is the network inside. Works with ``fit`` on every Keras backend.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from train.augment import Augment


class Learner(keras.Model):
    """(N, S, S, 1) grey to logits; while training the pictures are augmented first.

    Teachers see the very picture the student sees (Beyer et al. 2022, arXiv:2106.05237). The loss is
    (1 - share) * CE(target, student) + share * T^2 * KL(teachers, student at temperature T)
    (Hinton et al. 2015, arXiv:1503.02531), the teachers' probabilities being averaged.
    """

    def __init__(
        self,
        network: keras.Model,
        augment: Augment,
        teachers: Sequence[keras.Model] = (),
        teacher_share: float = 0.0,
        teacher_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.augment = augment
        self.network = network
        # Tracked, so that a jitted step gets their weights as arguments instead of baking them in as constants.
        self.teachers = list(teachers)
        for teacher in self.teachers:
            teacher.trainable = False
        self.teacher_share = teacher_share if self.teachers else 0.0
        self.teacher_temperature = teacher_temperature

    def call(self, images: keras.KerasTensor, training: bool = False) -> Any:
        pictures = self.augment(ops.cast(images, "float32"), training=training)
        logits = ops.cast(self.network(pictures, training=training), "float32")
        if not (training and self.teachers):
            return {"logits": logits}
        shares = [
            ops.softmax(ops.cast(teacher(pictures, training=False), "float32") / self.teacher_temperature)
            for teacher in self.teachers
        ]
        return {"logits": logits, "teacher": ops.stop_gradient(sum(shares) / len(shares))}

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        logits = y_pred["logits"]
        losses = keras.losses.categorical_crossentropy(y, logits, from_logits=True)
        if sample_weight is not None:
            losses = losses * sample_weight
        loss = ops.mean(losses)
        if "teacher" in y_pred:
            heat = self.teacher_temperature
            soft = keras.losses.kl_divergence(y_pred["teacher"], ops.softmax(logits / heat))
            loss = (1 - self.teacher_share) * loss + self.teacher_share * heat**2 * ops.mean(soft)
        return loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        return super().compute_metrics(x, y, y_pred["logits"], sample_weight)
