import pytest

from benchmarks.contestants import Contestant, peer


def test_a_peer_is_a_name_and_a_command() -> None:
    assert peer("other=node 'my server/main.js' --x=1") == Contestant("other", ("node", "my server/main.js", "--x=1"))


@pytest.mark.parametrize("text", ["", "other", "other=", "=node", "two words=node", "cryptopulse=node"])
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is not NAME=COMMAND, such as"):
        peer(text)
