#!/usr/bin/python
"""Ansible module: makes the network, the shared volume and the system containers of one rig in one task.

A loop over containers would cost one Ansible round trip and one `podman inspect` per container. Here one `podman ps`
lists the existing containers, and a few threads make the missing ones. Everything has the label
`pgcrucible.rig=<name>`; what has the label and is not in the arguments is removed. A second label names the checkout
that owns the rig; the caller has checked before that no other checkout does.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: podman_hosts
short_description: Makes or removes the system containers of a rig
description:
  - Makes the network, the shared volume and the containers of a rig, or removes everything with its label.
options:
  rig: {type: str, required: true, description: The rig's name.}
  owner: {type: str, description: "Folder of the checkout that owns the rig, percent-encoded."}
  state: {type: str, choices: [present, absent], default: present, description: Whether the rig exists.}
  network: {type: str, description: The rig's subnet (CIDR).}
  image: {type: str, description: The image of all hosts.}
  runtime: {type: str, description: The OCI runtime (runc, crun).}
  keys: {type: path, description: "Folder with <host>/host_key and <host>/authorized_keys."}
  shared_directory: {type: str, default: "", description: Mount point of the shared volume on app hosts.}
  faults_allowed: {type: bool, default: false, description: Whether hosts get the capability NET_ADMIN.}
  sysctl: {type: dict, default: {}, description: Kernel parameters of each host's network namespace.}
  purge: {type: bool, default: false, description: "With absent: remove the hosts' unused images too."}
  hosts:
    type: list
    elements: dict
    default: []
    description: The hosts of the rig.
    suboptions:
      name: {type: str, required: true, description: Host name.}
      role: {type: str, required: true, description: Role in the rig.}
      address: {type: str, required: true, description: IPv4 address.}
      memory: {type: str, default: "", description: Memory limit in podman's notation.}
author: pgcrucible
"""
EXAMPLES = r"""
- podman_hosts: {rig: local, state: absent}
"""
RETURN = r"""
created: {type: list, elements: str, returned: always, description: Hosts made or replaced.}
started: {type: list, elements: str, returned: always, description: Hosts that existed but were not running.}
removed: {type: list, elements: str, returned: always, description: "Removed things, as kind and name."}
"""

LABEL = "pgcrucible.rig"
OWNER_LABEL = "pgcrucible.owner"
WORKERS = 4
"""Podman serializes much behind its own locks, so more threads gain nothing."""


class PodmanError(Exception):
    """A podman command failed; the message names the host or object and podman's last output."""


LASTING = {key: value for key, value in os.environ.items() if key != "PGCRUCIBLE_PLAY"}
"""The environment of what outlives the play: its own processes are found by this variable, and ended with it."""


def podman(*arguments: str, what: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False, env=LASTING)
    if done.returncode != 0:
        raise PodmanError(f"{what}: {done.stderr.strip()[-600:]}")
    return done.stdout


def labelled(rig: str, kind: str) -> list[Any]:
    """Returns all containers, networks or volumes of the rig, as podman's JSON."""
    listing = ["ps", "--all"] if kind == "container" else [kind, "ls"]
    return json.loads(podman(*listing, "--filter", f"label={LABEL}={rig}", "--format", "json", what=kind) or "[]")


def labels(p: dict[str, Any]) -> list[str]:
    return ["--label", f"{LABEL}={p['rig']}", "--label", f"{OWNER_LABEL}={p['owner']}"]


def name_of(kind: str, record: dict[str, Any]) -> str:
    return record["Names"][0] if kind == "container" else record.get("name") or record["Name"]


def remove(kind: str, name: str) -> str:
    how = ["rm", "--force", "--time", "0", "--volumes"] if kind == "container" else [kind, "rm", "--force"]
    podman(*how, name, what=f"removing {kind} {name}")
    return f"{kind} {name}"


def remove_all(rig: str) -> list[str]:
    """Removes everything of the rig, containers first. Raises PodmanError if anything is left."""
    removed = []
    for kind in ("container", "network", "volume"):
        names = [name_of(kind, record) for record in labelled(rig, kind)]
        with ThreadPoolExecutor(WORKERS) as pool:
            removed += list(pool.map(lambda name, kind=kind: remove(kind, name), names))
    remaining = [name_of(kind, r) for kind in ("container", "network", "volume") for r in labelled(rig, kind)]
    if remaining:
        raise PodmanError(f"still present after removal: {', '.join(remaining)}")
    return removed


def remove_images() -> list[str]:
    """Removes the hosts' images that no container uses, of any rig."""
    listing = podman("images", "--filter", "label=pgcrucible.image=host", "--format", "json", what="images")
    removed = []
    for record in json.loads(listing or "[]"):
        if not record.get("Containers"):
            podman("rmi", record["Id"], what=f"image {record['Id'][:12]}")
            removed.append(f"image {record['Id'][:12]}")
    return removed


SHARES = {"load": 32768, "lb": 8192}
"""CPU weight of a role when cores are scarce (other roles have 1024): the hosts that generate and time the load must
not wait for a core that the measured hosts keep busy. The caps apply as well."""


def limits() -> list[str]:
    """Returns ulimits within this process's hard limits: without CAP_SYS_RESOURCE the engine's higher defaults fail.

    Podman lowers its own process limit to kernel.pid_max, so a container cannot have more.
    """
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    pid_max = int(Path("/proc/sys/kernel/pid_max").read_text())
    files = min(files, 1_048_576) if files > 0 else 1_048_576
    processes = min(processes, pid_max) if processes > 0 else pid_max
    return ["--ulimit", f"nofile={files}:{files}", "--ulimit", f"nproc={processes}:{processes}"]


def mac(address: str) -> str:
    """Returns a locally administered MAC address from the host's IPv4 address.

    Podman would choose another one at each start, and the other hosts would send to the old one until their ARP entry
    is stale: up to 47 s.
    """
    return ":".join(f"{byte:02x}" for byte in (0x52, 0x56, *ipaddress.IPv4Address(address).packed))


def run_arguments(p: dict[str, Any], host: dict[str, Any]) -> list[str]:
    """Returns the arguments of `podman run` for one host, without its name; no --privileged.

    No extra capability, except NET_ADMIN for network faults where these are allowed.
    """
    keys = Path(p["keys"]) / host["name"]
    volumes = [
        f"{keys}/host_key:/etc/ssh/ssh_host_ed25519_key:ro",
        f"{keys}/authorized_keys:/root/.ssh/authorized_keys:ro",
    ]
    if host["role"] == "app" and p["shared_directory"]:
        volumes.append(f"pgcrucible-{p['rig']}-shared:{p['shared_directory']}")
    arguments = ["--systemd=always", "--stop-signal", "SIGRTMIN+3", "--no-hosts", "--shm-size", "256m", *limits()]
    arguments += ["--network", f"pgcrucible-{p['rig']}", "--ip", host["address"]]
    arguments += ["--mac-address", mac(host["address"]), "--hostname", host["name"]]
    if p["faults_allowed"]:
        arguments += ["--cap-add", "NET_ADMIN"]
    arguments += [part for volume in volumes for part in ("--volume", volume)]
    arguments += [part for key, value in sorted(p["sysctl"].items()) for part in ("--sysctl", f"{key}={value}")]
    if host["memory"]:
        arguments += ["--memory", host["memory"]]
    if host["role"] in SHARES:
        arguments += ["--cpu-shares", str(SHARES[host["role"]])]
    # The engine's console log would be a second journal, without a size limit.
    return [*arguments, "--log-driver", "none", *labels(p), p["image"]]


def fingerprint(p: dict[str, Any], host: dict[str, Any], arguments: list[str]) -> str:
    """Returns a hash of all inputs of a container: arguments, image, network, mounted keys."""
    digest = hashlib.sha256(json.dumps([p["runtime"], p["network"], arguments]).encode())
    for name in ("host_key.pub", "authorized_keys"):
        digest.update((Path(p["keys"]) / host["name"] / name).read_bytes())
    return digest.hexdigest()[:16]


def ensure_network(p: dict[str, Any]) -> bool:
    """Returns whether the network had to be made. One with another subnet is replaced, with all hosts of the rig."""
    for record in labelled(p["rig"], "network"):
        if record["subnets"][0]["subnet"] == p["network"]:
            return False
        remove_all(p["rig"])
    podman(
        *("network", "create", "--disable-dns", "--subnet", p["network"]),
        *(*labels(p), f"pgcrucible-{p['rig']}"),
        what=f"network {p['network']}",
    )
    return True


def ensure(p: dict[str, Any], *, check: bool) -> dict[str, Any]:
    wanted = {}
    for host in p["hosts"]:
        arguments = run_arguments(p, host)
        wanted[f"pgcrucible-{p['rig']}-{host['name']}"] = (arguments, fingerprint(p, host, arguments))
    changed = False if check else ensure_network(p)
    if p["shared_directory"] and not labelled(p["rig"], "volume") and not check:
        podman(
            *("volume", "create", *labels(p), f"pgcrucible-{p['rig']}-shared"),
            what="shared volume",
        )
        changed = True
    existing = {name_of("container", record): record for record in labelled(p["rig"], "container")}
    stale = [
        name
        for name, record in existing.items()
        if name not in wanted or (record["Labels"] or {}).get("pgcrucible.spec") != wanted[name][1]
    ]
    jobs = {}
    for name, (arguments, spec) in wanted.items():
        if name not in existing or name in stale:
            run = ["--runtime", p["runtime"], "run", "--detach", "--name", name]
            jobs[name] = [*run, "--label", f"pgcrucible.spec={spec}", *arguments]
        elif existing[name]["State"] != "running":
            jobs[name] = ["unpause" if existing[name]["State"] == "paused" else "start", name]
    if not check:
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda name: remove("container", name), stale))
            list(pool.map(lambda name: podman(*jobs[name], what=name), jobs))
    return {
        "changed": changed or bool(jobs or stale),
        "created": [name for name in jobs if "run" in jobs[name]],
        "started": [name for name in jobs if "run" not in jobs[name]],
        "removed": [f"container {name}" for name in stale],
    }


def main() -> None:
    host = {
        "name": {"type": "str", "required": True},
        "role": {"type": "str", "required": True},
        "address": {"type": "str", "required": True},
        "memory": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "rig": {"type": "str", "required": True},
            "owner": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "network": {"type": "str"},
            "image": {"type": "str"},
            "runtime": {"type": "str"},
            "keys": {"type": "path", "no_log": False},
            "shared_directory": {"type": "str", "default": ""},
            "faults_allowed": {"type": "bool", "default": False},
            "sysctl": {"type": "dict", "default": {}},
            "purge": {"type": "bool", "default": False},
            "hosts": {"type": "list", "elements": "dict", "default": [], "options": host},
        },
        required_if=[("state", "present", ["owner", "network", "image", "runtime", "keys", "hosts"])],
        supports_check_mode=True,
    )
    p = module.params
    try:
        if p["state"] == "present":
            if os.geteuid() == 0 and not module.check_mode:
                # sshd accepts authorized_keys only if root or the login user owns the file.
                for wanted in p["hosts"]:
                    os.chown(Path(p["keys"]) / wanted["name"] / "authorized_keys", 0, 0)
            module.exit_json(**ensure(p, check=module.check_mode))
        removed = [] if module.check_mode else remove_all(p["rig"])
        if p["purge"] and not module.check_mode:
            removed += remove_images()
        module.exit_json(changed=bool(removed), created=[], started=[], removed=removed)
    except PodmanError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
