"""The command line: ``python -m edge run|demo|classify|doctor|bench|fetch``.

The only place that catches EdgeError: one line on standard error and the error's exit code (0 done, 1 failure, 2
usage, 78 configuration). Standard output carries data only.
"""

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence

from edge import __version__
from edge.errors import EXIT_FAILURE, EdgeError

COMMANDS = {
    "run": "watch a camera or file and publish emotion events",
    "demo": "the main job with nothing set up: shipped clip, own broker, what a subscriber receives",
    "classify": "the emotions on photos",
    "doctor": "what is wrong on this machine, and the command that mends it",
    "bench": "time each stage",
    "fetch": "download the YuNet face detector, checked",
}
"""Each is a module in edge/commands, imported only when chosen."""

log = logging.getLogger("edge")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. argparse itself exits with 2 on a command line it can't read."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m edge", description="Emotion events from a camera, on the device.")
    parser.add_argument("--version", action="version", version=f"emotion-edge {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in words if word in COMMANDS), None)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", allow_abbrev=False)
        if name == chosen:
            importlib.import_module(f"edge.commands.{name}").add_arguments(sub)
    args = parser.parse_args(words)
    set_up_logging()
    try:
        return int(importlib.import_module(f"edge.commands.{args.command}").run(args))
    except EdgeError as error:
        log.error("%s", error)
        return error.exit_code
    except BrokenPipeError:
        # The reader of standard output has gone (``| head``): nothing to say and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return EXIT_FAILURE


def set_up_logging() -> None:
    """Log lines on standard error; without the time where the journal adds its own."""
    time = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=time + "%(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    sys.exit(main())
