"""Where pip put the wheels that bring the real servers."""

from importlib.util import find_spec
from pathlib import Path

from server.local.service import LocalServiceError


def wheel_folder(package: str) -> Path:
    """The folder of an installed package; found, not imported: they load clients and make lock files."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise LocalServiceError(
            f"{package} is not installed: run `make dev`, or `pip install '.[dev]'` in the source tree"
        )
    return Path(spec.submodule_search_locations[0])
