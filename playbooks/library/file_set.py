"""Ansible module: writes a set of files on a host in one round trip."""

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
  - The cost of a task is its round trip, and a rig has eleven hosts or more. One C(template) task per file
    would double the time of a play; this module takes all files of a role at once.
  - Contents are compared byte for byte on every run, so edits by hand are undone.
options:
  files:
    description: The files, in the order in which they are written.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      state:
        description:
          - C(file) has exactly this content; C(directory) exists; C(absent) does not exist, nor anything below it.
          - C(block) contains the content between two marker lines; the rest of the file is not changed.
          - C(original) has the content from before the first change with I(keep_original).
        type: str
        choices: [file, directory, block, absent, original]
        default: file
      content: {description: Text of the file or block. An empty block is removed., type: str, default: ''}
      secret: {description: "Content of a file that is never printed, instead of I(content).", type: str}
      owner: {description: Name of the owner., type: str, default: root}
      group: {description: Name of the group., type: str, default: root}
      mode: {description: Octal mode as a string. 0644 or for directories 0755., type: str}
      validate:
        description: Command that must succeed before the file is replaced. C(%s) is the new file.
        type: str
      keep_original:
        description: Keep the first replaced version beside it, as I(path).before-pgcrucible.
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
  description: The changed paths, in the given order.
  type: list
  returned: always
"""

MARKERS = ("# BEGIN pgcrucible\n", "# END pgcrucible\n")
ORIGINAL = ".before-pgcrucible"


def with_block(text: str, block: str) -> str:
    """Returns `text` with exactly one marked block that contains `block`, at the old block's place or at the end."""
    begin, end = MARKERS
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else ""
    if not block:
        return before + after
    if before and not before.endswith("\n"):
        before += "\n"
    return before + begin + block.rstrip("\n") + "\n" + end + after


def read(path: Path) -> str | None:
    """Returns the text of a file, None if it does not exist. Bytes that are not UTF-8 survive a round trip."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return None


def attributes(entry: dict[str, Any], path: Path) -> dict[str, Any]:
    """Returns owner and mode of an entry as arguments of Ansible's functions."""
    mode = entry["mode"] or ("0755" if entry["state"] == "directory" else "0644")
    nothing = {"secontext": [None, None, None], "attributes": None}
    return {"path": str(path), "owner": entry["owner"], "group": entry["group"], "mode": mode, **nothing}


def write(module: AnsibleModule, entry: dict[str, Any], text: str) -> None:
    """Writes `text` whole or not at all; the file has its owner and mode from the start."""
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
                module.fail_json(msg=f"{path}: not replaced, because `{validate}` failed: {(err or out).strip()}")
        try:
            temporary.replace(path)
        except OSError as error:
            if error.errno != errno.EBUSY:  # a file that is a mount, as a container's /etc/hosts may be
                raise
            shutil.copyfile(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def keep(path: Path, original: Path) -> None:
    """Copies a file with its owner, mode and times."""
    shutil.copy2(path, original)
    os.chown(original, path.stat().st_uid, path.stat().st_gid)


def remove(module: AnsibleModule, entry: dict[str, Any], original: Path) -> bool:
    """Removes the path (`absent`) or restores the original file (`original`). Returns whether that changes anything."""
    path = Path(entry["path"])
    exists = os.path.lexists(path if entry["state"] == "absent" else original)
    if not exists or module.check_mode:
        return exists
    if entry["state"] == "original":
        original.replace(path)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    return True


def ensure(module: AnsibleModule, entry: dict[str, Any]) -> tuple[bool, dict[str, str]]:
    """Applies one entry. Returns whether that changed anything, and the difference in content."""
    path, state = Path(entry["path"]), entry["state"]
    original = Path(f"{path}{ORIGINAL}")
    if state in ("absent", "original"):
        return remove(module, entry, original), {}
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
