"""Face crops to calibrated emotion probabilities, by a bundle's network in whatever runtime serves it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.bundle import Bundle
from edge.calibration import calibrated
from edge.errors import BundleError
from edge.interfaces import TensorModel
from edge.records import Scores, TensorSpec
from edge.runtimes.quantization import dequantize, grey_table, quantize_grey, same_tensor


class BundleClassifier:
    """An EmotionClassifier: quantize a crop once, run the network, dequantize, calibrate as the card says.

    Raises BundleError where the model's tensors are not what the bundle's card says.
    """

    def __init__(self, model: TensorModel, bundle: Bundle) -> None:
        check_tensors(model, bundle)
        self.labels = bundle.labels
        self._model = model
        self._bundle = bundle
        self._table = grey_table(bundle.input)

    @property
    def backend(self) -> str:
        """What served the latest call."""
        return self._model.backend

    def classify(self, crops: Sequence[NDArray[np.uint8]]) -> list[Scores]:
        """crops: each (H, W) uint8 grey 0..255 at the bundle's input size. One Scores a crop."""
        return [Scores(self.labels, self._probabilities(crop)) for crop in crops]

    def _probabilities(self, crop: NDArray[np.uint8]) -> NDArray[np.float32]:
        _, height, width, _ = self._bundle.input.shape
        if crop.shape != (height, width) or crop.dtype != np.uint8:
            raise BundleError(f"expected a crop of ({height}, {width}) uint8, got {crop.shape} {crop.dtype}")
        (output,) = self._model.invoke(quantize_grey(crop, self._table))
        values = dequantize(output[0], self._bundle.output)
        if self._bundle.output_kind == "probabilities":
            values = np.log(np.maximum(values, np.float32(self._bundle.output.scale / 2)))
        return calibrated(values, self._bundle.calibration).astype(np.float32)

    def close(self) -> None:
        self._model.close()


def check_tensors(model: TensorModel, bundle: Bundle) -> None:
    """BundleError where the model's input or output is not what the card says."""
    if len(model.outputs) != 1:
        raise BundleError(f"bundle {bundle.folder}: expected a model with one output, got {len(model.outputs)}")
    for name, card, model_spec in (("input", bundle.input, model.input), ("output", bundle.output, model.outputs[0])):
        if not same_tensor(card, model_spec):
            raise BundleError(
                f"bundle {bundle.folder}: the card says {name} {_describe(card)}, the model has "
                f"{_describe(model_spec)}; convert again (python -m convert)"
            )


def _describe(spec: TensorSpec) -> str:
    return f"{list(spec.shape)} {spec.dtype} scale {spec.scale:.9g} zero point {spec.zero_point}"
