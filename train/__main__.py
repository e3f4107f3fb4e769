"""The workstation's training command line: ``python -m train COMMAND --help``."""

import argparse
import importlib
import os
import sys

from edge.errors import EXIT_INTERRUPTED, EdgeError

COMMANDS = {
    "explore": "what the data is like: counts, duplicates, leaks, samples, mean faces",
    "augment": "a sheet of augmented samples",
    "fit": "train a network, or go on with an unfinished run",
    "distil": "train a small network with larger ones as teachers",
    "evaluate": "score a run, a model file or a bundle on any split, with a report",
    "crossvalidate": "train k times, each time validating on another part",
    "search": "look for better hyper-parameters",
    "renorm": "estimate a finished run's batch norms anew, on pictures as they come in use",
    "networks": "parameters and MACs of every architecture",
}
MODULES = {"augment": "augment_sheet", "networks": "networks.table"}
"""Where a command's module is not called as the command is."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    # A command's module is imported only when it is asked for: keras takes seconds to import.
    chosen = sys.argv[1] if len(sys.argv) > 1 else ""
    for name, what in COMMANDS.items():
        sub = commands.add_parser(name, help=what, description=what)
        if name == chosen:
            module = importlib.import_module(f"train.{MODULES.get(name, name)}")
            module.add_arguments(sub)
            sub.set_defaults(run_command=module.run)
    args = parser.parse_args()
    try:
        return int(args.run_command(args))
    except EdgeError as error:
        print(f"train {args.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"train {args.command}: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
