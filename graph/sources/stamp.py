"""What a file looks like from outside: the cheap question that most looks end with."""

from pathlib import Path


def file_stamp(file: Path) -> dict[str, int]:
    """Size, times, inode and device, by one look, as `log_tree` compares them; {} if there is nothing to look at."""
    try:
        found = file.stat()
    except OSError:
        return {}
    return {
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
        "inode": found.st_ino,
        "device": found.st_dev,
    }
