"""Ansible as a process: its events, the message of a failure, and secrets that stay off command lines."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import ansible
from harness.rig import state

CORES = len(os.sched_getaffinity(0))
PLAY = """\
- name: "First: a play"
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Ensure a file is there
      ansible.builtin.copy:
        content: "{{ app_password }}"
        dest: "{{ place }}/file"
        mode: "0600"
    - name: Look at the processes
      ansible.builtin.command:
        argv: [ps, axww, -o, args]
      register: processes
      changed_when: false
    - name: Ensure no command line shows a secret
      ansible.builtin.assert:
        that: app_password not in processes.stdout
    - name: Ensure no core is kept from Ansible
      ansible.builtin.command:
        argv: [nproc]
      register: usable
      changed_when: false
      failed_when: usable.stdout | int < cores
    - name: Fail on demand
      ansible.builtin.fail:
        msg: the disk is full
      when: broken | default(false)
"""


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A rig's folder without hosts, and the playbook of this test."""
    monkeypatch.setattr(state, "RIGS", tmp_path / "rigs")
    for plugins in ("callback_plugins", "strategy_plugins"):
        (tmp_path / plugins).symlink_to(ansible.PLAYBOOKS / plugins)
    monkeypatch.setattr(ansible, "PLAYBOOKS", tmp_path)
    (tmp_path / "ansible.cfg").write_text("[defaults]\nlocalhost_warning = false\n")
    (tmp_path / "try.yml").write_text(PLAY)
    return state.make_folder("one")


def test_changes_plays_and_progress_are_read(rig: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    variables = {"place": str(tmp_path), "app_password": "so-secret-that-it-hurts", "cores": CORES}
    first = ansible.run_playbooks("one", ["try.yml"], variables=variables, echo=lines.append)
    again = ansible.run_playbooks("one", ["try.yml"], variables=variables, echo=lines.append, mitogen=False)
    assert (first.changed, again.changed) == (1, 0)
    assert first.tasks[0].changed == ("localhost",)
    assert lines[0] == "first: Ensure a file is there"
    assert [(play.playbook, play.name) for play in first.plays] == [("try", "First: a play")]
    assert 0 < first.plays[0].seconds <= first.seconds
    assert list(rig.iterdir()) == []  # no file with variables and no socket remains


def test_a_failure_names_host_task_and_reason(rig: Path, tmp_path: Path) -> None:
    variables = {"place": str(tmp_path), "app_password": "x" * 30, "broken": True, "cores": CORES}
    with pytest.raises(RigError) as caught:
        ansible.run_playbooks("one", ["try.yml"], variables=variables, echo=lambda line: None)
    assert caught.value.message == "this machine: Fail on demand: the disk is full"
    assert "./run destroy" in caught.value.hint


SECRETS = """\
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Print a secret
      ansible.builtin.command: {argv: [echo, "{{ app_password }}"]}
      no_log: true
    - name: Print a secret and fail
      ansible.builtin.shell: {cmd: "echo {{ app_password }}; echo {{ app_password }} >&2; exit 1"}
      no_log: true
      ignore_errors: true
    - name: Print a secret of each item
      ansible.builtin.shell: {cmd: "echo {{ item }} >&2; exit 1"}
      loop: ["{{ app_password }}", "{{ app_password }}2"]
      no_log: true
      ignore_errors: true
    - name: Print what is not secret
      ansible.builtin.shell: {cmd: "echo reason >&2; exit 1"}
      loop: [1, 2]
      ignore_errors: true
    - name: Skip a secret
      ansible.builtin.command: {argv: [echo, "{{ app_password }}"]}
      no_log: true
      when: false
    - name: Fail with a secret
      ansible.builtin.fail: {msg: "{{ app_password }}"}
      no_log: true
"""


@pytest.mark.parametrize("mitogen", [True, False])
def test_results_with_no_log_are_not_printed(
    rig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mitogen: bool
) -> None:
    (tmp_path / "try.yml").write_text(SECRETS)
    lines: list[str] = []
    take = ansible._take
    monkeypatch.setattr(ansible, "_take", lambda line, *more: (lines.append(line), take(line, *more)))
    variables = {"app_password": "so-secret-that-it-hurts"}
    with pytest.raises(RigError) as caught:
        ansible.run_playbooks("one", ["try.yml"], variables=variables, echo=lines.append, mitogen=mitogen)
    assert "so-secret" not in "".join(lines) + str(caught.value) + caught.value.output
    assert "reason" in "".join(lines)
    # earlier failures are ignored, so they are not reported
    assert caught.value.message.startswith("this machine: Fail with a secret: the output has been hidden")


def test_an_invalid_playbook_is_reported_with_ansibles_message(rig: Path, tmp_path: Path) -> None:
    (tmp_path / "try.yml").write_text("- hosts: [")
    with pytest.raises(RigError) as caught:
        ansible.run_playbooks("one", ["try.yml"], variables={}, echo=lambda line: None)
    assert "ansible-playbook ended with code" in caught.value.message
    assert "try.yml" in caught.value.output


def test_ctrl_c_ends_ansible_before_it_is_raised(rig: Path, tmp_path: Path) -> None:
    (tmp_path / "try.yml").write_text(
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n"
        f"    - ansible.builtin.command: {{argv: [sh, -c, 'echo $$ > {tmp_path}/pid; sleep 300']}}\n"
        f"      async: 0\n"
    )

    def stop(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ansible.run_playbooks("one", ["try.yml"], variables={}, echo=stop)
    pid = tmp_path / "pid"
    if pid.exists():  # the interrupt may come before the command is started
        status = Path(f"/proc/{pid.read_text().strip()}/status")
        with contextlib.suppress(FileNotFoundError):  # an ended process is there until its parent has read its status
            assert "State:\tZ" in status.read_text()
    assert list(rig.iterdir()) == []


def test_the_reason_of_a_failure_is_found() -> None:
    item = {"results": [{"failed": False}, {"failed": True, "msg": "no", "stderr": "because\n"}]}
    assert ansible._message(item) == "no | because"
    assert ansible._message({}) == "no message"
