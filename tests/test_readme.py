"""What the README shows is what happens."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.cli.serving import ENVIRONMENT, ROOT, SECONDS, serving
from tests.conftest import Client

README = ROOT / "README.md"


def _calls() -> list[tuple[str, str]]:
    """The curl lines, and what the comment behind each promises."""
    lines = [line for line in README.read_text().splitlines() if line.startswith("curl ")]
    return [(command.strip(), promise.strip()) for command, _, promise in (line.partition("#") for line in lines)]


async def test_the_first_screen_does_what_it_says(client: Client) -> None:
    assert len(_calls()) == 6
    for command, promise in _calls():
        words = shlex.split(command.replace("$JOBS", "").replace("$KEY", "KEY"))
        assert words[words.index("-H") + 1] == "Authorization: Bearer KEY"
        path = next(word for word in words if word.startswith("/"))
        body = words[words.index("--json") + 1] if "--json" in words else None
        response = await client.ask(
            "GET" if body is None else "POST", path, data=body, headers={"Content-Type": "application/json"}
        )
        status, _, part = promise.partition(" ")
        assert response.status == int(status), (command, await response.text())
        assert part in (await response.text()), command


@pytest.mark.parametrize("command", ["v/bin/jobstore demo", "v/bin/pytest"])
def test_the_two_command_lines_stand_on_lines_of_their_own(command: str) -> None:
    found = re.findall(rf"^python3 -m venv v && v/bin/pip install .* && {command}$", README.read_text(), re.MULTILINE)
    assert len(found) == 1


@pytest.fixture
def extended(folder: Path) -> Path:
    """A copy of the project, with the vendor that the README adds."""
    for part in ("jobstore", "schema", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (code,) = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    assert code.count("\n") < 80
    (folder / "jobstore" / "formats" / "mill.py").write_text(code)
    return folder


async def test_the_vendor_that_it_adds_is_served_and_described(extended: Path, dsn: str) -> None:
    with serving("--dsn", dsn, root=extended) as served:
        key = {"Authorization": f"Bearer {served.key}"}
        async with aiohttp.ClientSession(served.address, headers=key) as http:
            for body, status, answer in (
                ({"grain": "rye"}, 201, {"ticket": 1, "state": "waiting", "progress": None}),
                ({"grain": 7}, 400, {"sorry": "say which grain"}),
            ):
                async with http.post("/mill/tickets", json=body) as response:
                    assert (response.status, await response.json()) == (status, answer)
            for events, told in (
                ([{"type": "started"}, {"type": "progressed", "fraction": 0.4}], ("milling", 40)),
                ([{"type": "completed"}], ("milled", 100)),
            ):
                async with http.post("/jobs/1/events", json=events) as response:
                    assert response.status == 200
                async with http.get("/mill/tickets/1") as response:
                    shown = await response.json()
                assert (response.status, shown["state"], shown["progress"]) == (200, *told)
            for path, status, answer in (
                ("/jobs/1?format=mill&at=1", 200, {"ticket": 1, "state": "waiting", "progress": None}),
                ("/mill/tickets/2", 404, {"sorry": "there is no such job"}),
                ("/mill/flour", 404, {"sorry": "there is nothing at this address"}),
            ):
                async with http.get(path) as response:
                    assert (response.status, await response.json()) == (status, answer)
            async with http.get("/openapi.json") as response:
                described = (await response.json())["paths"]
            assert {"/mill/tickets", "/mill/tickets/{id}"} <= set(described)


def test_the_vendor_that_it_adds_keeps_the_laws_of_all_formats(extended: Path) -> None:
    laws = (sys.executable, "-m", "pytest", "-q", "--noconftest", "-k", "mill", "tests/formats/test_laws.py")
    environment = ENVIRONMENT | {"PYTHONPATH": str(extended)}
    done = subprocess.run(
        laws, capture_output=True, text=True, timeout=SECONDS, env=environment, cwd=extended, check=False
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^[5-9] passed", done.stdout, re.MULTILINE), done.stdout
