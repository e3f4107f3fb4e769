"""Every error this project raises on purpose.

A message is one line and says what was expected, what came and how to mend it. A leaf is also the builtin it
resembles, so that a caller may catch either. Only ``__main__`` modules catch ``EdgeError``; each class carries the
exit code they return.
"""

EXIT_OK, EXIT_FAILURE, EXIT_USAGE, EXIT_CONFIG, EXIT_INTERRUPTED = 0, 1, 2, 78, 130


class EdgeError(Exception):
    """Base of all: something this project can explain in one line."""

    exit_code = EXIT_FAILURE


class ConfigError(EdgeError, ValueError):
    """The configuration can't be used as written. systemd does not restart on its exit code, 78 (EX_CONFIG)."""

    exit_code = EXIT_CONFIG


class UsageError(EdgeError, ValueError):
    """The command line can't be used as written."""

    exit_code = EXIT_USAGE


class SourceError(EdgeError, OSError):
    """A frame source can't be opened or read for good (a camera that may come back is not an error)."""


class BundleError(EdgeError, ValueError):
    """A model bundle that does not match its card, or a card that can't be read."""


class DownloadError(EdgeError, OSError):
    """A file could not be downloaded, or is not the one it should be."""


class RuntimeUnavailableError(EdgeError, OSError):
    """An inference runtime or accelerator is absent, failed to load, crashed or hung."""


class BrokerError(EdgeError, OSError):
    """The broker can't be used as configured (a broker that is away is not an error)."""


class CommandError(EdgeError, ValueError):
    """A message on a command topic that is not a command: refused and said, the process goes on."""


class DataError(EdgeError, ValueError):
    """Training data that can't be used; the message names file, row and mend."""


class RunError(EdgeError, ValueError):
    """A training run folder that can't be used or continued."""


class TrainingError(EdgeError, RuntimeError):
    """Training had to stop (a NaN loss, a full disk); the last good checkpoint is kept."""


class ConversionError(EdgeError, RuntimeError):
    """A model could not be converted, or the converted file is not good enough to ship."""
