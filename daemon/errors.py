"""Everything that can go wrong, as one tree; each error is one line that says what, where and what to do.

    ReflexdError                 70  internal fault
    ├── UsageError                2  the command line asks for something that does not exist
    ├── DataError                65  an input file is torn, malformed or contradicts itself
    │   └── MismatchError        65  a vector, pairs file or weights belong to another model
    ├── NoInputError             66  a file or folder is not there
    ├── UnavailableError         69  a model is not provided yet, or a library is missing
    ├── ModelTaskError           70  the model process died or failed
    ├── FullError                74  input/output failed (disk full, read-only folder)
    └── ConfigError              78  reflexd.toml is wrong

`graph.errors` and `store.errors` have small trees of their own with the same `exit_code`; the command line treats all
three alike. The numbers are those of sysexits(3).
"""


class ReflexdError(Exception):
    """Base of every error that a person can do something about."""

    exit_code = 70


class UsageError(ReflexdError):
    """The command line names something that does not exist."""

    exit_code = 2


class DataError(ReflexdError):
    """An input is torn, malformed or contradicts itself."""

    exit_code = 65


class MismatchError(DataError):
    """A vector or weights belong to another model, template or format version."""


class NoInputError(ReflexdError):
    """A file or folder that was named is not there."""

    exit_code = 66


class UnavailableError(ReflexdError):
    """Something must be provided first, by a command that the message names."""

    exit_code = 69


class ModelTaskError(ReflexdError):
    """The process that holds the model died or reported a fault."""


class FullError(ReflexdError):
    """Writing failed: the disk is full or the folder cannot be written."""

    exit_code = 74


class ConfigError(ReflexdError):
    """The configuration is wrong; the message names file and key."""

    exit_code = 78
