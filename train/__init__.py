"""The workstation's training side: data, networks, recipes, evaluation. See ``python -m train --help``."""
