"""From a training run to a model bundle. The one package that imports tensorflow. See ``python -m convert --help``."""
