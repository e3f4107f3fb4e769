"""Write a bundle beside the old one, then swap: a failure or a full disk leaves the old one as it was."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge.errors import ConversionError, EdgeError, UsageError


@contextlib.contextmanager
def replaced_folder(out: Path) -> Iterator[Path]:
    """A new, empty folder that becomes ``out`` when the block ends without an error, and vanishes otherwise.

    ``out`` may be missing, empty, a bundle, or a symlink to one (its target is replaced). Anything else is not ours to
    delete: UsageError. Raises ConversionError where the file system refuses, with ``out`` as it was.
    """
    target = out.resolve()
    if target.exists() and not target.is_dir():
        raise UsageError(f"expected a folder to write the bundle to, {out} is a file; name another with --out")
    if target.is_dir() and any(target.iterdir()) and not (target / "card.json").is_file():
        raise UsageError(f"expected a bundle or an empty folder, {out} holds other files; name another with --out")
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        staging.chmod(0o755)
        yield staging
        _swap(staging, target)
    except OSError as error:
        if isinstance(error, EdgeError):  # some leaves are OSErrors too, about something else
            raise
        kept = "the old bundle is unchanged" if target.exists() else "nothing was written"
        raise ConversionError(
            f"the bundle can't be written to {out} ({error.strerror}); {kept}; free space or name another with --out"
        ) from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    old = new.with_name(new.name + ".old")
    target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)
