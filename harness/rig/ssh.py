"""Hosts over SSH: commands, streams, files and tunnels.

A host must have the key that was recorded when it was created; an unknown or changed key stops the run. There is one
connection per host, shared by all its channels.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
import shutil
import socket
import tarfile
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import fabric
import paramiko

from harness.errors import RigError
from harness.model import Host
from harness.rig.connection import RemoteProcess, Result
from harness.rig.ssh_stream import RemoteStream, deadline, ended
from harness.rig.tunnel import tunnel

CONNECT_TIMEOUT_S = 15
ALIVE_S = 10.0
"""A host whose SSH server opens no session for so long is taken for dead; a slow one takes a second."""
KEEPALIVE_S, SILENT_S = 15, 60
"""An idle connection sends a message so often; one that is not acknowledged for so long is lost."""
FETCH_S = 60.0
"""Longest pause of a host while it sends files."""
HOST_DOWN = "./run status shows whether the host is up; ./run provision starts it"

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors are raised and reported once, by RigError


def _notice_death(transport: paramiko.Transport) -> None:
    """Ends the connection if its host acknowledges nothing for `SILENT_S`; the next use opens it again."""
    transport.set_keepalive(KEEPALIVE_S)
    if isinstance(transport.sock, socket.socket):  # a bastion's channel ends with the bastion's connection
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_S * 1000)


class SshConnection:
    """A HostConnection over SSH. Commands run as root, through `sudo -n` for another user."""

    def __init__(self, host: Host, key: Path | None, known_hosts: Path | None) -> None:
        self.host = host
        self._lock = threading.Lock()
        key = Path(host.ssh_key).expanduser() if host.ssh_key else key
        self._known_hosts = Path(host.known_hosts).expanduser() if host.known_hosts else known_hosts
        options: dict[str, object] = dict.fromkeys(
            ("banner_timeout", "auth_timeout", "channel_timeout"), CONNECT_TIMEOUT_S
        )
        if key is not None:
            options |= {"key_filename": str(key), "allow_agent": False, "look_for_keys": False}
        gateway: fabric.Connection | str | None = None
        if " " in host.jump:
            gateway = host.jump
        elif host.jump:
            gateway = fabric.Connection(host.jump, connect_kwargs=options, connect_timeout=CONNECT_TIMEOUT_S)
            self._strict(gateway)
        self._connection = fabric.Connection(
            host.ssh_address,
            user=host.ssh_user,
            port=host.ssh_port,
            gateway=gateway,
            connect_timeout=CONNECT_TIMEOUT_S,
            connect_kwargs=options,
            forward_agent=False,
        )
        self._strict(self._connection)

    def _strict(self, connection: fabric.Connection) -> None:
        try:
            if self._known_hosts is not None:
                connection.client.load_host_keys(str(self._known_hosts))
            else:
                connection.client.load_system_host_keys()
        except (OSError, ValueError, paramiko.hostkeys.InvalidHostKey) as error:
            raise RigError(
                f"{self.name}: its recorded SSH host keys cannot be read: {error}",
                hint="restore the file, or have the inventory name another one",
            ) from None
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())

    @property
    def name(self) -> str:
        """The host's name in the rig."""
        return self.host.name

    def _open(self) -> fabric.Connection:
        with self._lock:
            if not self._connection.is_connected:
                try:
                    self._connection.open()
                    _notice_death(self._connection.transport)
                except paramiko.BadHostKeyException as error:
                    raise changed_host_key(self.name) from error
                except (paramiko.SSHException, OSError, EOFError) as error:
                    unknown_key = "known_hosts" in str(error)
                    raise RigError(
                        f"{self.name} ({self.host.ssh_address}:{self.host.ssh_port}) cannot be reached "
                        f"over SSH: {error or type(error).__name__}",
                        hint=f"run ssh-keyscan {self.host.ssh_address}, compare the key with the one that the "
                        "machine's console shows, and add it to known_hosts"
                        if unknown_key
                        else HOST_DOWN,
                    ) from error
            return self._connection

    def _session(self) -> paramiko.Channel:
        try:
            return self._open().transport.open_session(timeout=CONNECT_TIMEOUT_S)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise RigError(f"{self.name}: the SSH connection was lost: {error}", hint=HOST_DOWN) from error

    def is_alive(self) -> bool:
        """Whether the host's SSH server answers within `ALIVE_S`: one that is paused, cut off or frozen does not."""
        try:
            self._open().transport.open_session(timeout=ALIVE_S).close()
        except paramiko.ChannelException:  # it refuses another session, and so answers
            return True
        except (RigError, paramiko.SSHException, OSError, EOFError):
            return False
        return True

    def _command(self, command: Sequence[str]) -> str:
        line = shlex.join(command)
        return line if self.host.ssh_user == "root" else f"sudo -n -- {line}"

    def run(self, command: Sequence[str], *, stdin: str = "", timeout_s: float = 60.0, check: bool = True) -> Result:
        """See HostConnection."""
        channel = self._session()
        channel.settimeout(timeout_s)
        try:
            with deadline(channel, timeout_s):
                channel.exec_command(self._command(command))
                if stdin:
                    channel.sendall(stdin.encode())
                channel.shutdown_write()
                errors: list[bytes] = []
                reader = threading.Thread(
                    target=lambda: errors.append(channel.makefile_stderr("rb", -1).read()), daemon=True
                )
                reader.start()
                out = channel.makefile("rb", -1).read()
                reader.join(timeout_s)
                code = ended(channel, timeout_s)
        except (TimeoutError, paramiko.SSHException, OSError, EOFError) as error:
            reason = f"not finished within {timeout_s:g} s" if isinstance(error, TimeoutError) else str(error)
            raise RigError(f"{self.name}: `{command[0]}`: {reason}", hint=HOST_DOWN) from error
        finally:
            channel.close()
        result = Result(
            stdout=out.decode(errors="replace"),
            stderr=b"".join(errors).decode(errors="replace"),
            code=code,
        )
        if check and code != 0:
            last_line = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:] or ["(no output)"]
            raise RigError(
                f"{self.name}: `{' '.join(command[:4])}` exited with {code}: {last_line[0]}",
                output=result.stderr[-4000:],
            )
        return result

    def stream(self, command: Sequence[str]) -> RemoteProcess:
        """See HostConnection."""
        channel = self._session()
        try:
            with deadline(channel, CONNECT_TIMEOUT_S):
                channel.exec_command(self._command(command))
        except (paramiko.SSHException, OSError, EOFError) as error:
            reason = f"no response within {CONNECT_TIMEOUT_S} s" if isinstance(error, TimeoutError) else str(error)
            raise RigError(f"{self.name}: `{command[0]}` could not be started: {reason}", hint=HOST_DOWN) from error
        return RemoteStream(channel)

    def fetch(self, folder: str, names: Collection[str], into: Path) -> None:
        """See HostConnection. One tar stream carries all files."""
        try:
            with self._session() as channel:
                channel.settimeout(FETCH_S)
                with deadline(channel, FETCH_S):
                    channel.exec_command(self._command(["tar", "-C", folder, "-cf", "-", "."]))
                with channel.makefile("rb", -1) as source, tarfile.open(fileobj=source, mode="r|") as archive:
                    for member in archive:
                        name = member.name.removeprefix("./")
                        if name in names and member.isfile() and (content := archive.extractfile(member)):
                            with (into / name).open("wb") as target:
                                shutil.copyfileobj(content, target)
                    while source.read(1 << 16):  # the padding of the archive
                        pass
                code = ended(channel, FETCH_S)
                if code != 0:
                    stderr = channel.makefile_stderr("rb", -1).read().decode(errors="replace")
                    last_line = stderr.strip().splitlines()[-1:] or ["(no output)"]
                    raise RigError(f"{self.name}: {folder}: tar exited with {code}: {last_line[0]}")
        except (paramiko.SSHException, OSError, EOFError, tarfile.TarError) as error:
            reason = f"no data for {FETCH_S:g} s" if isinstance(error, TimeoutError) else str(error)
            raise RigError(f"{self.name}: {folder}: {reason}", hint=HOST_DOWN) from error

    def get(self, address: str, port: int, path: str, *, timeout_s: float = 10.0) -> tuple[int, str]:
        """Sends an HTTP GET from this host; returns (status, body), or status 0 and the reason if no response came."""
        transport = self._open().transport
        try:
            with transport.open_channel(
                "direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout_s
            ) as channel:
                channel.settimeout(timeout_s)
                with deadline(channel, timeout_s):
                    channel.sendall(f"GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                    response = channel.makefile("rb", -1).read().decode(errors="replace")
        except (paramiko.SSHException, OSError, EOFError) as error:
            return 0, str(error) or f"no response within {timeout_s:g} s"
        head, _, body = response.partition("\r\n\r\n")
        words = head.split(maxsplit=2)
        return (int(words[1]), body) if len(words) > 1 and words[1].isdigit() else (0, head[:200])

    @contextlib.contextmanager
    def tunnel(self, port: int) -> Iterator[int]:
        """Yields a local loopback port that is forwarded to `port` on the host's loopback."""
        with tunnel(self._open().transport, port) as local:
            yield local

    def close(self) -> None:
        """Closes the connection; commands that still run lose their standard input."""
        transport = self._connection.transport
        with contextlib.suppress(Exception):
            self._connection.close()
        if transport is not None and isinstance(transport.sock, paramiko.ProxyCommand):
            with transport.sock.process as proxy:  # paramiko leaves the pipes open and does not wait for the process
                transport.join(CONNECT_TIMEOUT_S)
                proxy.terminate()


def changed_host_key(host: str) -> RigError:
    """Returns the error for a host whose SSH key differs from the recorded one."""
    return RigError(
        f"{host}: its SSH host key is not the one recorded when it was created",
        hint="another machine may answer at that address: do not continue; if you rebuilt the host yourself, "
        "run ./run destroy and ./run provision; a bastion's key must be in your own known_hosts",
    )
