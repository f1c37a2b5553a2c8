"""The number of tasks of playbooks, from their files."""

from __future__ import annotations

from pathlib import Path

from harness.provision.task_count import count_tasks
from harness.rig.state import PLAYBOOKS

PLAY = """\
- hosts: all
  tasks:
    - ansible.builtin.import_role: {name: common}
    - block:
        - ansible.builtin.command: one
        - ansible.builtin.command: two
    - ansible.builtin.include_role: {name: "{{ item }}", tasks_from: verify}
    - ansible.builtin.include_tasks: more.yml
      loop: [a, b, c]
"""


def role(folder: Path, name: str, file: str, count: int) -> None:
    path = folder / "roles" / name / "tasks" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("- command: x\n" * count)


def test_roles_blocks_and_includes_are_counted(tmp_path: Path) -> None:
    role(tmp_path, "common", "main.yml", 4)
    role(tmp_path, "db", "verify.yml", 2)
    role(tmp_path, "app", "verify.yml", 3)
    (tmp_path / "more.yml").write_text("- command: x\n- command: y\n")
    (tmp_path / "play.yml").write_text(PLAY)
    assert count_tasks(tmp_path, ["play.yml"]) == 4 + 2 + (1 + 2 + 3) + (1 + 3 * 2)


def test_what_cannot_be_read_has_no_number(tmp_path: Path) -> None:
    (tmp_path / "bad.yml").write_text("- hosts: [")
    (tmp_path / "odd.yml").write_text("- 3\n")
    (tmp_path / "loop.yml").write_text("- hosts: all\n  tasks: [{import_tasks: again.yml}]\n")
    (tmp_path / "again.yml").write_text("- import_tasks: again.yml\n- command: x\n")
    for name in ("bad.yml", "odd.yml", "absent.yml"):
        assert count_tasks(tmp_path, [name]) == 0
    assert 0 < count_tasks(tmp_path, ["loop.yml"]) < 100


def test_the_projects_playbooks_have_a_number() -> None:
    assert count_tasks(PLAYBOOKS, ["site.yml", "verify.yml"]) > 30
