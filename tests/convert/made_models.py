"""Small real TFLite files, one for each rule of the Edge TPU compiler: made by TensorFlow, not drawn up by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from convert.quantize import configure_int8, fixed_batch, import_frameworks, quiet, to_float, to_int8

SIZE = 16


def crops(size: int = SIZE, count: int = 12) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(count, size, size) uint8 noise that reaches 0 and 255."""
    made = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
    made[0, 0, 0], made[0, -1, -1] = 0, 255
    return made


def network(middle: Callable[[Any, Any], Any] | None = None) -> Any:
    """Convolution, ``middle(keras.layers, x)``, pooling, dense: (N, 16, 16, 1) to (N, 3)."""
    _, keras = import_frameworks()
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 1))
    x = layers.ReLU(6.0)(layers.Conv2D(8, 3, 2, padding="same")(inputs))
    x = middle(layers, x) if middle else x
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def int8(middle: Callable[[Any, Any], Any] | None = None) -> bytes:
    """By the project's recipe; refused by it where something float is left."""
    return to_int8(fixed_batch(network(middle), SIZE), crops())


def floating() -> bytes:
    return to_float(fixed_batch(network(), SIZE))


def _converted(model: Any, batch: int = 1, **attributes: Any) -> bytes:
    """int8 with parts of the recipe undone."""
    tf, _ = import_frameworks()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    configure_int8(converter, crops())
    if batch > 1:
        converter.representative_dataset = lambda: (
            [np.repeat(crop[None, :, :, None].astype(np.float32), batch, axis=0)] for crop in crops()
        )
    for name, value in attributes.items():
        setattr(converter, name, value)
    with quiet():
        return bytes(converter.convert())


def dynamic_batch() -> bytes:
    return _converted(network())


def per_channel_dense() -> bytes:
    return _converted(
        fixed_batch(network(), SIZE), _experimental_disable_per_channel_quantization_for_dense_layers=False
    )


def float_island(middle: Callable[[Any, Any], Any]) -> bytes:
    """Operators that can't be quantized are left float, as the plain converter does."""
    tf, _ = import_frameworks()
    model = fixed_batch(network(middle), SIZE)
    return _converted(model, target_spec=_spec(tf, tf.lite.OpsSet.TFLITE_BUILTINS))


def float_outside() -> bytes:
    """int8 inside, float32 in and out: QUANTIZE first, DEQUANTIZE last."""
    tf, _ = import_frameworks()
    return _converted(fixed_batch(network(), SIZE), inference_input_type=tf.float32, inference_output_type=tf.float32)


def batch_of_two() -> bytes:
    _, keras = import_frameworks()
    model = network()
    inputs = keras.Input(batch_shape=(2, SIZE, SIZE, 1))
    return _converted(keras.Model(inputs, model(inputs)), batch=2)


def two_subgraphs() -> bytes:
    """A loop: its condition and its body are subgraphs of their own."""
    tf, _ = import_frameworks()

    @tf.function(input_signature=[tf.TensorSpec((1, SIZE), tf.float32)])
    def halve(x: Any) -> Any:
        return tf.while_loop(lambda y: tf.reduce_sum(y) > 1.0, lambda y: (y / 2.0,), (x,))[0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([halve.get_concrete_function()])
    with quiet():
        return bytes(converter.convert())


def _spec(tf: Any, ops: Any) -> Any:
    return tf.lite.TargetSpec(supported_ops=[ops])
