"""What a network costs: parameters and multiply-accumulates of one picture."""

import keras
from keras import layers


def count_parameters(model: keras.Model) -> int:
    """All weights, the batch norms' moving statistics included (conversion folds those away)."""
    return int(model.count_params())


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates of one forward pass of one picture: convolutions and dense layers, nested models too."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            total += count_macs(layer)
        elif isinstance(layer, layers.DepthwiseConv2D):
            _, height, width, channels = layer.output.shape
            total += height * width * channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, layers.Conv2D):
            _, height, width, channels = layer.output.shape
            total += height * width * channels * layer.kernel_size[0] * layer.kernel_size[1] * layer.input.shape[-1]
        elif isinstance(layer, layers.Dense):
            total += layer.input.shape[-1] * layer.units
    return int(total)
