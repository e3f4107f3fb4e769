"""The command line: a training run to a bundle, and what can be asked about either."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from edge.errors import EXIT_FAILURE, EdgeError

COMMANDS = {
    "check": ("convert.edgetpu_check", "which operators of a .tflite file the Edge TPU will map, and why not"),
    "verify": ("convert.verify", "is a bundle whole, and does it still answer its golden cases"),
    "compile": ("convert.recompile", "run edgetpu_compiler on a bundle's int8 file"),
    "agree": ("convert.agree", "accuracy and agreement, float against int8, of a bundle on each runtime"),
    "detector": ("convert.detector", "the YuNet face detector as a TFLite bundle"),
}
BUILD = "convert.build"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. EdgeErrors become one line on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # TensorFlow converts; Keras must not come up on another backend, and the C++ start-up lines help no one.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
    command = words[0] if words and words[0] in COMMANDS else None
    module_name, description = COMMANDS[command] if command else (BUILD, None)
    parser = argparse.ArgumentParser(
        prog=f"python -m convert{f' {command}' if command else ''}",
        description=description or "Make a model bundle from a training run.",
        epilog=None if command else "Other commands: " + "; ".join(f"{key}: {COMMANDS[key][1]}" for key in COMMANDS),
    )
    try:
        # Imported only when asked for: check and verify need no TensorFlow.
        module = importlib.import_module(module_name)
        module.add_arguments(parser)
        return int(module.run(parser.parse_args(words[1:] if command else words)))
    except EdgeError as error:
        print(f"python -m convert: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has seen enough; nothing is left to say to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except KeyboardInterrupt:
        print("python -m convert: stopped; the old bundle is unchanged", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
