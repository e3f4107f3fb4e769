"""The networks, each a short function in the field's usual form.

Every builder takes ``(classes, size, *, dropout, squeeze_excite)`` and returns a ``keras.Model`` from raw grey
(N, size, size, 1) float32 in 0..255 to (N, classes) float32 logits: scaling is the network's own first layer, softmax
is left to whoever needs probabilities.
"""

from collections.abc import Callable

import keras

from edge.errors import UsageError
from train.networks.mobile import mobile
from train.networks.plain import seven_conv, six_conv, three_conv
from train.networks.residual import residual, residual_large
from train.networks.transfer import TRANSFER_BASES, transfer

NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "mobile": mobile,
    "three-conv": three_conv,
    "six-conv": six_conv,
    "seven-conv": seven_conv,
    "residual": residual,
    "residual-large": residual_large,
}


def build_network(
    name: str,
    classes: int,
    size: int = 48,
    *,
    dropout: float | None = None,
    squeeze_excite: bool = False,
    weights: str = "none",
) -> keras.Model:
    """Build a network by name.

    name: a key of NETWORKS, or one of vgg16, vgg19, resnet50v2, mobilenetv2 (transfer learning). dropout: None keeps
    the architecture's own. weights: ``imagenet``, ``none`` or a weights file; transfer networks only.
    Raises UsageError for an unknown name.
    """
    if name in TRANSFER_BASES:
        return transfer(name, classes, size, dropout=dropout, weights=weights)
    if name not in NETWORKS:
        known = ", ".join([*NETWORKS, *TRANSFER_BASES])
        raise UsageError(f"expected a network of {known}, got {name!r}; name one of these in the recipe")
    return NETWORKS[name](classes, size, dropout=dropout, squeeze_excite=squeeze_excite)
