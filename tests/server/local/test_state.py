import stat
from pathlib import Path

import pytest

from server.local.state import Running, StateError, StateFolder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_made_up_once(tmp_path: Path) -> None:
    first = StateFolder(tmp_path).secrets()
    assert first.keys() == {"JWT_SECRET", "ADMIN_USER", "ADMIN_PASS"}
    assert first["ADMIN_USER"] == "admin"
    assert len(first["JWT_SECRET"]) >= 32
    assert StateFolder(tmp_path).secrets() == first


def test_two_folders_have_secrets_of_their_own(tmp_path: Path) -> None:
    one, other = (StateFolder(tmp_path / name) for name in "ab")
    with one.locked(), other.locked():
        assert one.secrets()["JWT_SECRET"] != other.secrets()["JWT_SECRET"]


def test_only_the_owner_may_read_what_is_kept(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    with state.locked():
        state.secrets()
        state.record(Running("redis://127.0.0.1:1/0"))
    modes = [mode(state.path / name) for name in (".", "secrets.json", "dev.json")]
    assert modes == [0o700, 0o600, 0o600]


def test_there_is_no_secret_where_no_dev_ever_ran(tmp_path: Path) -> None:
    assert StateFolder(tmp_path).jwt_secret() is None
    assert list(tmp_path.iterdir()) == []


def test_one_dev_at_a_time(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert not state.is_in_use()
    with state.locked():
        assert state.is_in_use()
        with pytest.raises(StateError, match="another `cryptopulse dev` runs in"), state.locked():
            pass
    assert not state.is_in_use()
    with state.locked():
        pass


def test_what_runs_is_recorded_until_it_is_forgotten(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert state.recorded() is None
    running = Running("redis://127.0.0.1:1/0", ["http://127.0.0.1:3000"], {"valkey": 7}, {"PORT": "1"})
    state.record(running)
    assert state.recorded() == running
    assert state.running() is None, "a dev that was killed left it"
    with state.locked():
        assert state.running() == running
    state.forget()
    state.forget()
    assert state.recorded() is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("secrets.json").write_bytes(b"")
    with pytest.raises(StateError, match=r"secrets\.json is damaged: delete it"):
        StateFolder(tmp_path).secrets()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    with pytest.raises(StateError, match="give another --state-dir"), StateFolder(tmp_path / "file/x").locked():
        pass
