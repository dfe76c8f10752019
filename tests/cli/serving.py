"""Knows how the tests run `jobstore` as a process of its own, and what belongs to it: the server in its folder."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 30.0

ENVIRONMENT: Final = {
    name: value for name, value in os.environ.items() if not name.startswith("JOBSTORE_") and name != "PYTHONPATH"
} | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def command(*arguments: str | Path) -> list[str]:
    """The command line of a `jobstore` command."""
    return [sys.executable, "-m", "jobstore", *map(str, arguments)]


def start(*arguments: str | Path, leads: bool = False, **environment: str) -> "subprocess.Popen[str]":
    """A command that runs by itself; what it prints is kept in pipes. It may lead a process group, as from a shell."""
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT | environment,
        cwd=ROOT,
        process_group=0 if leads else None,
    )


def run(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """What a command printed, and its exit code."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=ENVIRONMENT | environment,
        cwd=ROOT,
        check=False,
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def postmaster(data: Path) -> psutil.Process | None:
    """The server in the folder, if it runs. It is known by the folder it works in: a number alone is anybody's."""
    try:
        process = psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))
        return process if process.cwd() == str(data / "postgres") else None
    except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def dead(process: psutil.Process | None) -> bool:
    """Whether the process is gone, even where nobody has buried it."""
    try:
        return process is None or not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_all(data: Path, *others: int) -> None:
    """End these processes and the folder's server with all its children, at once, as a power cut does."""
    server = postmaster(data)
    processes = [] if server is None else [server, *server.children(recursive=True)]
    for pid in (*others, *(process.pid for process in processes)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while not all(map(dead, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Served:
    """A `jobstore serve` or `demo`, of the package under `root`, that runs until it is told otherwise."""

    def __init__(self, *arguments: str | Path, verb: str = "serve", port: int | None = None, root: Path = ROOT) -> None:
        self.port = free_port() if port is None else port
        self.address = f"http://127.0.0.1:{self.port}"
        self.lines: list[str] = []
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (a pipe that nobody reads would fill up)
        self.process = subprocess.Popen(
            command(verb, *arguments, "--port", str(self.port)),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=ENVIRONMENT | {"PYTHONPATH": str(root)},
            cwd=root,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("jobstore is at"):
                break
        else:
            self.process.wait()
            raise AssertionError(f"it did not start: {self.errors()}")

    @property
    def key(self) -> str | None:
        """The key that was printed, if one was."""
        keys = [line.removeprefix("key: ") for line in self.lines if line.startswith("key: ")]
        assert len(keys) <= 1
        return keys[0] if keys else None

    def errors(self) -> str:
        """What it has said on stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def close(self) -> None:
        """Close what it was heard through."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    def end(self, signum: int = signal.SIGTERM, seconds: float = SECONDS) -> int:
        """Its exit code, after this signal."""
        self.process.send_signal(signum)
        return self.process.wait(seconds)


@contextlib.contextmanager
def serving(
    *arguments: str | Path, verb: str = "serve", port: int | None = None, root: Path = ROOT
) -> Iterator[Served]:
    """A server for a while; whatever is left of it afterwards is killed."""
    served = Served(*arguments, verb=verb, port=port, root=root)
    children = psutil.Process(served.process.pid).children(recursive=True)
    try:
        yield served
    finally:
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        served.process.kill()
        served.process.wait()
        served.close()
