"""What the README shows is what happens."""

import re
import shlex
from pathlib import Path

import pytest

from tests.conftest import Client

README = Path(__file__).parents[1] / "README.md"


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
