"""What can be wrong with a memory: one line each that says what, where and what to do. Exit codes: sysexits(3).

GraphError                65  a memory, a pairs file or a cue is wrong
├── TornFileError         65  the text ends too early or is malformed at (file, line, column)
└── SourceMissingError    66  the named file or folder is not there
"""


class GraphError(Exception):
    """Base of every error of this package; nothing was changed when it is raised."""

    exit_code = 65


class TornFileError(GraphError):
    """A file is cut off or malformed. It may be half written at this moment, so the next look may succeed."""


class SourceMissingError(GraphError):
    """A file or folder that was named is not there."""

    exit_code = 66
