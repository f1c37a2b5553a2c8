"""Ansible module: ensure that a set of files stands on a host as described, in one round trip."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: file_set
short_description: Ensure a set of files, directories and blocks on a host, in one round trip
description:
  - A rig has eleven hosts and more, and what a task costs is its round trip. One C(template) task a file
    would double the time of a play; this module takes all files of a role at once.
  - Contents are compared byte for byte on every run, so what was edited by hand is put right again.
options:
  files:
    description: What should stand on the host, in this order.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      state:
        description:
          - C(file) has exactly this content; C(directory) exists; C(absent) is gone, with all it held.
          - C(block) holds the content between two marker lines; the rest of the file is not ours.
          - C(original) is as it was before the first change made with I(keep_original).
        type: str
        choices: [file, directory, block, absent, original]
        default: file
      content: {description: Text of the file or block. An empty block is removed., type: str, default: ''}
      secret: {description: "Content of a file that is never shown, instead of I(content).", type: str}
      owner: {description: Name of the owner., type: str, default: root}
      group: {description: Name of the group., type: str, default: root}
      mode: {description: Octal mode as a string. 0644 or for directories 0755., type: str}
      validate:
        description: Command that must succeed before the content is put in place. C(%s) is the file to judge.
        type: str
      keep_original:
        description: Keep what we replace beside it, as I(path).before-pgcrucible, the first time.
        type: bool
        default: false
author: pgcrucible
"""

EXAMPLES = r"""
- name: Ensure the service is described to systemd
  file_set:
    files:
      - {path: /etc/example, state: directory, mode: "0750"}
      - {path: /etc/example/example.env, content: "{{ lookup('template', 'example.env.j2') }}", mode: "0600"}
"""

RETURN = r"""
changed_paths:
  description: What was changed, in the order given.
  type: list
  returned: always
"""

MARKERS = ("# BEGIN pgcrucible\n", "# END pgcrucible\n")
ORIGINAL = ".before-pgcrucible"


def with_block(text: str, block: str) -> str:
    """`text` with exactly one marked block holding `block`, in the old block's place or at the end."""
    begin, end = MARKERS
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else ""
    if not block:
        return before + after
    if before and not before.endswith("\n"):
        before += "\n"
    return before + begin + block.rstrip("\n") + "\n" + end + after


def read(path: Path) -> str | None:
    """The text of a file, or None if there is none. Bytes that are no UTF-8 survive a round trip."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def attributes(entry: dict[str, Any], path: Path) -> dict[str, Any]:
    """Owner and mode of an entry, as Ansible's own functions take them."""
    mode = entry["mode"] or ("0755" if entry["state"] == "directory" else "0644")
    nothing = {"secontext": [None, None, None], "attributes": None}
    return {"path": str(path), "owner": entry["owner"], "group": entry["group"], "mode": mode, **nothing}


def write(module: AnsibleModule, entry: dict[str, Any], text: str) -> None:
    """Put `text` in place whole or not at all, with its owner and mode from the first instant."""
    path, validate = Path(entry["path"]), entry["validate"]
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".pgcrucible.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(text)
        module.set_fs_attributes_if_different(attributes(entry, temporary), changed=False)
        if validate:
            code, out, err = module.run_command(validate.replace("%s", name), cwd="/")
            if code != 0:
                module.fail_json(msg=f"{path}: not put in place, `{validate}` says: {(err or out).strip()}")
        try:
            temporary.replace(path)
        except OSError as error:
            if error.errno != errno.EBUSY:  # a file that is a mount, as a container's /etc/hosts may be
                raise
            shutil.copyfile(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def keep(path: Path, original: Path) -> None:
    """Copy a file with its owner, mode and times."""
    shutil.copy2(path, original)
    os.chown(original, path.stat().st_uid, path.stat().st_gid)


def take_away(module: AnsibleModule, entry: dict[str, Any], original: Path) -> bool:
    """Remove what stands at the path (`absent`) or put back what stood there before us (`original`)."""
    path = Path(entry["path"])
    there = os.path.lexists(path if entry["state"] == "absent" else original)
    if not there or module.check_mode:
        return there
    if entry["state"] == "original":
        original.replace(path)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    return True


def ensure(module: AnsibleModule, entry: dict[str, Any]) -> tuple[bool, dict[str, str]]:
    """Make one entry so. Answers whether that changed anything, and the difference in content."""
    path, state = Path(entry["path"]), entry["state"]
    original = Path(f"{path}{ORIGINAL}")
    if state in ("absent", "original"):
        return take_away(module, entry, original), {}
    changed, difference = False, {}
    if state == "directory":
        changed = not path.is_dir()
        if changed and not module.check_mode:
            path.mkdir(parents=True)
    else:
        old = read(path)
        new = with_block(old or "", entry["content"]) if state == "block" else entry["secret"] or entry["content"]
        changed = old != new
        if changed and not entry["secret"]:
            difference = {"before_header": str(path), "after_header": str(path), "before": old or "", "after": new}
        if changed and not module.check_mode:
            if entry["keep_original"] and old is not None and not os.path.lexists(original):
                keep(path, original)
            write(module, entry, new)
    if os.path.lexists(path):
        changed = module.set_fs_attributes_if_different(attributes(entry, path), changed)
    return changed, difference


def main() -> None:
    entry = {
        "path": {"type": "path", "required": True},
        "state": {"default": "file", "choices": ["file", "directory", "block", "absent", "original"]},
        "content": {"default": ""},
        "secret": {"no_log": True},
        "owner": {"default": "root"},
        "group": {"default": "root"},
        "mode": {},
        "validate": {},
        "keep_original": {"type": "bool", "default": False},
    }
    spec = {"files": {"type": "list", "elements": "dict", "required": True, "options": entry}}
    module = AnsibleModule(spec, supports_check_mode=True)
    paths: list[str] = []
    diffs: list[dict[str, str]] = []
    for one in module.params["files"]:
        changed, difference = ensure(module, one)
        if changed:
            paths.append(one["path"])
            diffs.append(difference)
    module.exit_json(changed=bool(paths), changed_paths=paths, diff=[diff for diff in diffs if diff])


if __name__ == "__main__":
    main()
