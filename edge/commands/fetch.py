"""``python -m edge fetch``: the set-up step that downloads YuNet's weights, which the project may not ship."""

import argparse

from edge.errors import EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:  # noqa: ARG001 it takes none
    return


def run(args: argparse.Namespace) -> int:  # noqa: ARG001
    """Prints where the checked file lies."""
    from edge.fetch import fetch_yunet

    print(fetch_yunet())
    return EXIT_OK
