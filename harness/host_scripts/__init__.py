"""Scripts that are piped to the Python of a host.

They import only the standard library: a host may have neither this project nor its packages.
"""

from pathlib import Path


def source(name: str) -> str:
    """Returns the source text of the script `name`, for the standard input of a host's `python3 -`."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
