"""Secrets in files, and which of the two ways one came."""

import os
from pathlib import Path
from threading import Timer

import pytest

from core.environment import Found, SettingsError, read, read_one, without_files

SECRETS = {"jwt_secret"}


def found(environment: dict[str, str]) -> Found:
    return read(environment, ["port", "jwt_secret"], SECRETS)


@pytest.mark.parametrize("text", ["canary", "canary\n", "canary\r\n"])
def test_a_secret_may_be_in_a_file_whose_last_newline_is_not_part_of_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secret"
    path.write_bytes(text.encode())
    read_from = found({"JWT_SECRET_FILE": str(path), "PORT": "1"})
    assert read_from.values == {"jwt_secret": "canary", "port": "1"}
    assert read_from.origins == {"jwt_secret": "file", "port": "environment"}


def test_blanks_and_newlines_within_a_secret_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(" a\nb \n", encoding="utf-8")
    assert read_one({"JWT_SECRET_FILE": str(path)}, "jwt_secret") == " a\nb "


def test_a_secret_that_is_given_twice_is_refused_without_a_look_at_either() -> None:
    [problem] = found({"JWT_SECRET": "canary", "JWT_SECRET_FILE": "/canary"}).problems
    assert str(problem) == "JWT_SECRET: given, and so is its file; allowed: one of it and JWT_SECRET_FILE"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"x" * 70_000])
def test_a_file_that_is_no_good_is_named_by_its_variable_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "canary"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_one({"JWT_SECRET_FILE": str(path)}, "jwt_secret")
    assert str(caught.value).startswith("JWT_SECRET_FILE: names ")
    assert "canary" not in str(caught.value)


def test_why_a_file_cannot_be_read_is_told(tmp_path: Path) -> None:
    [missing] = found({"JWT_SECRET_FILE": str(tmp_path / "none")}).problems
    [folder] = found({"JWT_SECRET_FILE": str(tmp_path)}).problems
    [no_path] = found({"JWT_SECRET_FILE": "\0"}).problems
    assert "(No such file or directory)" in missing.wrong
    assert "(Is a directory)" in folder.wrong
    assert "(no path)" in no_path.wrong


def test_what_is_no_secret_is_in_no_file() -> None:
    assert found({"PORT_FILE": "/none"}) == Found()


def test_what_is_set_to_nothing_is_not_set_and_names_are_in_any_case() -> None:
    assert found({"JWT_SECRET": "", "JWT_SECRET_FILE": "", "Port": "1"}).values == {"port": "1"}


def test_a_whole_environment_has_its_files_replaced_by_what_is_in_them(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("canary\n", encoding="utf-8")
    given = {"JWT_SECRET_FILE": str(path), "PATH": "/bin", "OTHER_FILE": "/x"}
    assert without_files(given, SECRETS) == {"JWT_SECRET": "canary", "PATH": "/bin", "OTHER_FILE": "/x"}


def test_a_pipe_that_nobody_writes_to_is_an_empty_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    [problem] = found({"JWT_SECRET_FILE": str(tmp_path / "pipe")}).problems
    assert problem.wrong == "names a file that holds no such thing"


def test_a_pipe_is_waited_for_that_somebody_will_write_to() -> None:
    reading, writing = os.pipe()

    def tell() -> None:
        os.write(writing, b"canary\n")
        os.close(writing)

    late = Timer(0.05, tell)
    late.start()
    assert read_one({"JWT_SECRET_FILE": f"/dev/fd/{reading}"}, "jwt_secret") == "canary"
    late.join()
    os.close(reading)
