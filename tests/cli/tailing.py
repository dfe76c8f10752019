"""Knows how the tests read a command that goes on: line by line, in bounded time, until it is told to stop."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.cli.serving import SECONDS, start

BOTH = pytest.mark.parametrize("way", ["database", "server"], indirect=True)


class Tailing:
    """A command that runs, and what it says, as soon as it says it."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        self.process = start(*arguments, leads=True, **environment)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._said = _lines(self.process.stdout)
        self._told = _lines(self.process.stderr)

    @property
    def has_said(self) -> bool:
        """Whether there is a line to take."""
        return not self._said.empty()

    def take(self, count: int) -> list[str]:
        """The next lines, which have to come."""
        return [self._next(self._said) for _ in range(count)]

    def notice(self) -> str:
        """The next line on stderr, which has to come."""
        return self._next(self._told)

    def end(self, signum: int = signal.SIGTERM) -> tuple[int, list[str], list[str]]:
        """The exit code after this signal, and the lines that nobody has taken, of stdout and of stderr."""
        self.process.send_signal(signum)
        return self.ended()

    def ended(self) -> tuple[int, list[str], list[str]]:
        """The same without a signal: it ends by itself."""
        code = self.process.wait(SECONDS)
        return code, _rest(self._said), _rest(self._told)

    def _next(self, lines: "queue.Queue[str | None]") -> str:
        line = lines.get(timeout=SECONDS)
        assert line is not None, (self.process.wait(SECONDS), _rest(self._told))
        return line


@contextlib.contextmanager
def tailing(*arguments: str | Path, **environment: str) -> Iterator[Tailing]:
    """A command for a while; what is left of it afterwards is killed."""
    tail = Tailing(*arguments, **environment)
    try:
        yield tail
    finally:
        tail.process.kill()
        tail.ended()


@contextlib.contextmanager
def unread(*arguments: str | Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """A command that writes into a pipe, and the end of the pipe that nobody reads yet."""
    process = start(*arguments)
    assert process.stdout is not None
    fd = os.dup(process.stdout.fileno())
    process.stdout.close()
    try:
        yield process, fd
    finally:
        process.kill()
        process.wait()
        assert process.stderr is not None
        process.stderr.close()
        with contextlib.suppress(OSError):
            os.close(fd)


def positions(lines: list[str]) -> list[int]:
    """Where in the log they are."""
    return [int(line.split("\t")[1]) for line in lines]


def _lines(stream: IO[str]) -> "queue.Queue[str | None]":
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        with stream:
            for line in stream:
                lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def _rest(lines: "queue.Queue[str | None]") -> list[str]:
    rest = []
    while (line := lines.get(timeout=SECONDS)) is not None:
        rest.append(line)
    lines.put(None)
    return rest
