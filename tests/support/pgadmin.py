"""A rig of one database host for the tests of pgAdmin, whose ssh forwards to a server of this machine."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from harness.model import Host
from harness.provision.pgadmin import server
from harness.rig import state
from tests.support.builders import rig_state

DB = Host(name="db-1", role="db", address="192.0.2.1", ssh_address="192.0.2.1")
SSH = """#!{python} -IS
import socket, sys, threading

def copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

_, port, host, remote = sys.argv[sys.argv.index("-L") + 1].split(":")
with socket.create_server(("127.0.0.1", int(port))) as listener:
    while True:
        client, _ = listener.accept()
        try:
            far = socket.create_connection((host, int(remote)))
        except OSError:
            client.close()
            continue
        for pair in ((client, far), (far, client)):
            threading.Thread(target=copy, args=pair, daemon=True).start()
"""
"""An ssh that forwards to this machine instead of the host."""


def program(file: Path, text: str) -> Path:
    """Writes an executable file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755)
    return file


@contextmanager
def paper_rig(folder: Path, ssh: str, **variables: object) -> Iterator[tuple[str, Path]]:
    """Yields the name and the folder of a stored rig; its pgAdmin has ended afterwards. `ssh` is the program."""
    name = f"t-{os.getpid()}-{secrets.token_hex(2)}"
    program(folder / "bin/ssh", ssh)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "RIGS", folder / "my rigs")
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        made = state.make_folder(name)
        state.save(rig_state((DB,), name=name, variables=variables))
        if password := variables.get("harness_password"):
            state.write_private(made / "secrets.yml", yaml.safe_dump({"harness_password": password}))
        try:
            yield name, made
        finally:
            server.stop(name)


quiet: Callable[[str], None] = lambda _: None  # noqa: E731
"""Takes lines of progress."""
