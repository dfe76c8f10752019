"""What stops a command that goes on, and what does not keep it from letting go."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from jobstore.cli.output import Output
from jobstore.cli.stopping import SIGNALS, Stopping

both = pytest.mark.parametrize("signum", SIGNALS)


@contextmanager
def piped(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """The other end of a pipe that standard output is meanwhile."""
    reading, writing = os.pipe()
    with monkeypatch.context() as patch, os.fdopen(writing, "w") as stdout, os.fdopen(reading, "rb", 0) as reader:
        patch.setattr(sys, "stdout", stdout)
        yield reader


@both
def test_a_signal_ends_the_work_and_those_that_follow_let_it_finish(
    monkeypatch: pytest.MonkeyPatch, signum: int
) -> None:
    let_go = []

    async def work(output: Output) -> None:
        try:
            os.kill(os.getpid(), signum)
            await asyncio.Event().wait()
        finally:
            for again in SIGNALS:
                os.kill(os.getpid(), again)
            await asyncio.to_thread(os.getpid)
            let_go.append(1)

    with piped(monkeypatch), Stopping() as stopping:
        stopping.run(work)
        os.kill(os.getpid(), signum)
        let_go.append(2)
    assert let_go == [1, 2]


@both
def test_before_the_work_a_signal_ends_the_command_and_outside_it_is_as_it_was(signum: int) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(SystemExit) as ended, Stopping():
        os.kill(os.getpid(), signum)
    assert ended.value.code == 0
    assert [signal.getsignal(each) for each in SIGNALS] == before


@both
def test_a_signal_after_the_work_does_not_keep_the_command_from_letting_go(
    monkeypatch: pytest.MonkeyPatch, signum: int
) -> None:
    async def work(output: Output) -> None:
        await output.line(b"all there was")

    with piped(monkeypatch), Stopping() as stopping:
        stopping.run(work)
        os.kill(os.getpid(), signum)


def test_a_reader_that_goes_while_it_is_written_to_ends_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    with piped(monkeypatch) as reader, Stopping() as stopping:

        async def work(output: Output) -> None:
            await output.line(b"one")
            written.append(reader.read(10))
            reader.close()
            await output.line(b"two")
            written.append(b"two")

        stopping.run(work)
    assert written == [b"one\n"]


def test_a_failure_of_the_work_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(output: Output) -> None:
        raise LookupError("x")

    with piped(monkeypatch), pytest.raises(LookupError), Stopping() as stopping:
        stopping.run(work)
