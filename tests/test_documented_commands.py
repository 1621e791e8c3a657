"""What the documents tell a reader to paste is pasted here, into a real shell, before a real `cryptopulse dev`.

A page that has commands ends with a line that says which of them no test runs, and who did:

    Commands: a test runs all but `make dev`, `make monitor` (by hand, 23 November 2026), `systemctl` (not run: …).

A block of commands is known by how it begins; what the line does not name is run here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from server.auth import issue_token
from server.local.postgres_home import home_for
from tests.server.test_dev import UNSET, free_ports, started

REPOSITORY = Path(__file__).parents[1]
WRITTEN_URL = "http://127.0.0.1:3000"
PAGE_ENDS_WITHIN_S = 30

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LAST_LINE = re.compile(r"\nCommands: (a test runs all|a test runs all but (.+)|no test runs (.+))\.\n\Z")
NAMES = r"`[^`]+`(?:, `[^`]+`)*"
WHO = r"\((?:by hand, \d+ \w+ \d{4}|in CI|by another test, \[[^]]+\]\([^)]+\)|not run: [^)]+)\)"
OTHERS = re.compile(rf"(?:{NAMES} {WHO}(?:, |$))*")

CURL = shutil.which("curl")
# Keeps the head of each answer in a file of its own, and does not listen to a stream for ever.
CURL_OF_A_PAGE = f"""\
#!/bin/sh
head="$(mktemp "$HEADS/XXXXXX")"
case " $* " in
*" -sN "*) {CURL} --dump-header "$head" "$@" --max-time 2 || [ $? = 28 ] ;;
*) exec {CURL} --dump-header "$head" "$@" ;;
esac
"""
GOOD_HEAD = re.compile(r"HTTP/1\.1 [23]\d\d ")


@dataclass(frozen=True)
class Page:
    """A document with commands, and what its last line says of them."""

    name: str
    text: str

    @property
    def others(self) -> str:
        """What others run, and who."""
        last = LAST_LINE.search(self.text)
        assert last, f"{self.name} does not end with a line on its commands"
        return last[2] or last[3] or ""

    @property
    def beginnings(self) -> tuple[str, ...]:
        """How the blocks begin that others run."""
        return tuple(re.findall(r"`([^`]+)`", self.others))

    @property
    def script(self) -> str:
        """What is run here, as one would paste it: block after block, into one shell."""
        ours = [block for block in BLOCK.findall(self.text) if not block[1].startswith(self.beginnings)]
        return "\n".join(text if language == "sh" else f"python -c {shlex.quote(text)}" for language, text in ours)


def pages() -> list[Page]:
    paths = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
    found = [Page(path.name, path.read_text(encoding="utf-8")) for path in paths]
    return [page for page in found if BLOCK.search(page.text)]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_says_who_runs_its_commands(page: Page) -> None:
    assert OTHERS.fullmatch(page.others)
    before, _, last_line = page.text.rpartition("\nCommands: ")
    for beginning in page.beginnings:
        assert re.search(rf"(?:^|`){re.escape(beginning)}", before, re.MULTILINE), f"{beginning} is no command here"
    assert last_line.startswith("a test runs all") == bool(page.script)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A folder in which a page's commands find what they find in a clone."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / ".venv").symlink_to(sys.prefix)
    yield folder
    if (folder / ".cryptopulse" / "postgres").exists():
        home_for(folder / ".cryptopulse" / "postgres").remove_cluster()


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """What stands first in a page's PATH."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "curl").write_text(CURL_OF_A_PAGE, encoding="utf-8")
    (folder / "curl").chmod(0o755)
    return folder


@dataclass(frozen=True)
class Shell:
    """Where pages are pasted, and what went wrong there."""

    folder: Path
    url: str
    environment: dict[str, str]
    wrong: list[str]

    def paste(self, page: Page) -> None:
        """Run a page's commands; blocks."""
        heads = self.folder.with_name(f"heads of {page.name}")
        heads.mkdir()
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", page.script.replace(WRITTEN_URL, self.url)],
            cwd=self.folder,
            env={**UNSET, **self.environment, "HEADS": str(heads)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PAGE_ENDS_WITHIN_S,
        )
        answers = [path.read_text(encoding="utf-8") for path in heads.iterdir()]
        refused = [head for head in answers if not GOOD_HEAD.match(head)]
        if ended.returncode or refused:
            self.wrong.append(f"{page.name} ended with {ended.returncode}, refused {refused}:\n{ended.stdout}")


@pytest.mark.skipif(CURL is None, reason="there is no curl here")
async def test_the_commands_of_all_pages_do_what_they_should(checkout: Path, programs: Path) -> None:
    port = free_ports(1)
    in_checkout = ("sh", "-c", 'cd "$0" && exec .venv/bin/cryptopulse dev', str(checkout))
    quick = {"PORT": str(port), "BATCH_WINDOW_MS": "200", "THROTTLE_GLOBAL_LIMIT": "1000"}
    async with started(checkout / ".cryptopulse", command=in_checkout, **quick) as dev:
        await dev.banner()
        token = issue_token(dev.state.secrets()["JWT_SECRET"], subject="ada", username="ada", expires_s=600)
        path = f"{programs}:{checkout}/.venv/bin:{os.environ['PATH']}"
        shell = Shell(checkout, f"http://127.0.0.1:{port}", {"TOKEN": token, "PATH": path}, wrong=[])
        async with trio.open_nursery() as nursery:
            for page in pages():
                nursery.start_soon(trio.to_thread.run_sync, shell.paste, page)
    assert not shell.wrong, "\n".join(shell.wrong)
