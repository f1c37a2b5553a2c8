"""Scripts that are piped to the Python of a host.

They use the standard library alone and import nothing of this project, because a host may have neither.
"""

from pathlib import Path


def source(name: str) -> str:
    """Returns the source text of the script `name`, for the standard input of a host's `python3 -`."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
