"""Where a command's bytes go: standard output, or a file that appears only when it is whole."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def output(path: str | None) -> Iterator[BinaryIO]:
    """Standard output without a path; a reader that has seen enough (`| head`) ends the command quietly, with status 1."""
    if path is None:
        with _standard_output() as out:
            yield out
    elif _is_device(path):
        with open(path, "wb") as out:
            yield out
    else:
        with _whole_file(os.path.realpath(path)) as out:
            yield out


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter would complain on its way out
        sys.exit(1)


@contextmanager
def _whole_file(path: str) -> Iterator[BinaryIO]:
    part = f"{path}.part"
    try:
        with open(part, "wb") as out:
            yield out
        os.replace(part, path)
    except BaseException:
        if os.path.exists(part):
            os.remove(part)
        raise


def _is_device(path: str) -> bool:
    """Anything but a regular file, such as /dev/stdout or a pipe: it is written to, never replaced."""
    return os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode)
