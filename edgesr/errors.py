"""What can go wrong, one class per cause.

Every message names the cause, the place (file, layer, option) and the fix. The exit code belongs
to the class, so that scripts can tell causes apart; `--debug` shows the traceback.
"""

from __future__ import annotations


class EdgesrError(Exception):
    """Base of every error a user can cause. Exit code 1."""

    exit_code = 1


class UsageError(EdgesrError):
    """An argument makes no sense: unknown name, impossible combination. Exit code 2."""

    exit_code = 2


class BadFileError(EdgesrError):
    """A file is missing, truncated, hostile, or not of the kind it was given as. Exit code 3."""

    exit_code = 3


class CheckpointError(BadFileError):
    """Weights do not fit the network: keys missing or left over, NaN, wrong shapes. Exit code 3."""


class SizeMismatchError(EdgesrError):
    """Two images that must match in size do not. Exit code 4."""

    exit_code = 4


class UnsupportedError(EdgesrError):
    """A target, runtime or rule cannot express this layer. Exit code 5."""

    exit_code = 5


class ParityError(EdgesrError):
    """An exported file does not compute what its network computes. Exit code 6."""

    exit_code = 6


class InexactError(EdgesrError):
    """A rewrite would change the function and was not allowed to. Exit code 7."""

    exit_code = 7


class OutputExistsError(EdgesrError):
    """The output is there already; `--force` overwrites. Exit code 8."""

    exit_code = 8


class EnvironmentLimitError(EdgesrError):
    """The machine says no: disk full, read-only folder, missing runtime package. Exit code 9."""

    exit_code = 9


class RegressionError(EdgesrError):
    """A later result is slower or worse than the bounds allow. Exit code 10."""

    exit_code = 10
