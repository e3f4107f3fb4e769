"""``python -m convert compile BUNDLE``: an Edge TPU file from a bundle's int8 file, and the facts in its card."""

import argparse
import shutil
from pathlib import Path

from convert import card
from convert.edgetpu_compile import WHERE, add_compiler_arguments, compile_model, find_compiler
from convert.folder import replaced_folder
from edge.bundle import load_bundle
from edge.errors import EXIT_OK, ConversionError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    add_compiler_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Replace the bundle by one that also has the compiled file. ConversionError without a compiler."""
    bundle = load_bundle(args.bundle)
    compiler = find_compiler(args.compiler)
    if compiler is None:
        raise ConversionError(f"nothing was compiled: {WHERE}")
    with replaced_folder(args.bundle) as staging:
        names = {key: file.path for key, file in bundle.files.items() if key != "edgetpu"}
        for name in names.values():
            shutil.copyfile(bundle.folder / name, staging / name)
        compiled = compile_model(compiler, staging / names["int8"], staging, args.compile_timeout_s)
        names["edgetpu"] = compiled["file"]
        facts = {**bundle.card.get("edgetpu", {}), "compiled": compiled}
        contents = {**bundle.card, "files": card.file_entries(staging, names), "edgetpu": facts}
        (staging / "card.json").write_text(card.card_text(contents))
        load_bundle(staging)
    print(
        f"wrote {args.bundle / compiled['file']}: {compiled['operators_mapped']} of {compiled['operators_total']} "
        f"operators mapped, {compiled['on_chip_bytes'] / 1024:.0f} KiB on chip, "
        f"{compiled['off_chip_bytes'] / 1024:.0f} KiB streamed"
    )
    return EXIT_OK
