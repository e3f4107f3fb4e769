"""The arithmetic between real numbers and a quantized tensor: real = (q - zero_point) * scale (TFLite's affine scheme).

https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
"""

import numpy as np
from numpy.typing import NDArray

from edge.records import TensorSpec


def grey_table(spec: TensorSpec) -> NDArray[np.generic]:
    """(256,) of ``spec.dtype``: the tensor value of each grey level 0..255, so that quantizing a crop is one look-up.

    round(grey / scale) + zero_point, clipped to the dtype; with scale 1 and zero point -128 simply grey - 128. A float
    spec (scale 0) leaves grey levels as they are.
    """
    grey = np.arange(256, dtype=np.float64)
    if spec.scale == 0.0:
        return np.asarray(grey.astype(spec.dtype))
    limits = np.iinfo(spec.dtype)
    levels = np.clip(np.rint(grey / spec.scale) + spec.zero_point, limits.min, limits.max)
    return np.asarray(levels.astype(spec.dtype))


def quantize_grey(crop: NDArray[np.uint8], table: NDArray[np.generic]) -> NDArray[np.generic]:
    """crop: (H, W) uint8 grey; table: ``grey_table``. The (1, H, W, 1) input tensor."""
    return np.take(table, crop)[np.newaxis, :, :, np.newaxis]


def dequantize(tensor: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.float32]:
    """Real values, float32, of the same shape; a float tensor (scale 0) is passed on."""
    values = tensor.astype(np.float32)
    if spec.scale == 0.0:
        return values
    return (values - np.float32(spec.zero_point)) * np.float32(spec.scale)


def same_tensor(a: TensorSpec, b: TensorSpec) -> bool:
    """Equal in shape, dtype, zero point, and in scale as far as float32 can tell."""
    alike = (a.shape, a.dtype, a.zero_point) == (b.shape, b.dtype, b.zero_point)
    return alike and bool(np.isclose(a.scale, b.scale, rtol=1e-6, atol=0.0))
