"""Ansible as a process: its events, the message of a failure, and secrets that stay off command lines."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

import pytest

from harness.errors import RigError
from harness.provision import ansible, play_events
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
    assert lines[0] == "task 1 of about 5: first: Ensure a file is there"
    assert [(play.playbook, play.name) for play in first.plays] == [("try", "First: a play")]
    assert 0 < first.plays[0].seconds <= first.seconds
    assert list(rig.iterdir()) == [rig / "provision.log"]  # no file with variables and no socket remains
    assert (rig / "provision.log").stat().st_mode & 0o077 == 0
    text = (rig / "provision.log").read_text()
    assert f"first: Ensure a file is there  ({tmp_path}/try.yml:6)\n" in text
    assert re.search(r"^\d\d:\d\d:\d\d   localhost: changed$", text, re.MULTILINE)
    assert "so-secret" not in text


def test_a_failure_names_host_task_and_reason(rig: Path, tmp_path: Path) -> None:
    variables = {"place": str(tmp_path), "app_password": "x" * 30, "broken": True, "cores": CORES}
    with pytest.raises(RigError) as caught:
        ansible.run_playbooks("one", ["try.yml"], variables=variables, echo=lambda line: None)
    assert caught.value.message == f"this machine: Fail on demand ({tmp_path}/try.yml:25): the disk is full"
    assert "./run provision --rig one continues; ./run destroy --rig one removes" in caught.value.hint
    assert f"the log is {rig}/provision.log" in caught.value.hint
    assert "localhost: failed: the disk is full\n" in (rig / "provision.log").read_text()


def test_a_place_in_the_playbooks_is_relative() -> None:
    assert play_events._place(f"{ansible.PLAYBOOKS}/roles/app/main.yml:18") == "playbooks/roles/app/main.yml:18"
    assert play_events._place("/elsewhere/a.yml:1") == "/elsewhere/a.yml:1"


def test_a_failure_on_a_host_names_the_command_that_repeats_it(rig: Path, tmp_path: Path) -> None:
    (rig / "inventory.yml").write_text("all: {hosts: {app-1: {ansible_connection: local}}}\n")
    (tmp_path / "try.yml").write_text("- hosts: app-1\n  gather_facts: false\n  tasks:\n    - ansible.builtin.fail:\n")
    with pytest.raises(RigError) as caught:
        ansible.run_playbooks("one", ["try.yml"], variables={}, echo=lambda line: None)
    assert caught.value.message.startswith(f"app-1: ansible.builtin.fail ({tmp_path}/try.yml:4): ")
    assert caught.value.hint.startswith("./run provision --rig one --only app-1 repeats it there; ")


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
    assert "so-secret" not in (rig / "provision.log").read_text()
    assert "reason" in "".join(lines)
    # earlier failures are ignored, so they are not reported
    where = f"{tmp_path}/try.yml:25"
    assert caught.value.message.startswith(f"this machine: Fail with a secret ({where}): the output has been hidden")


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
    assert list(rig.iterdir()) == [rig / "provision.log"]


def test_the_reason_of_a_failure_is_found() -> None:
    item = {"results": [{"failed": False}, {"failed": True, "msg": "no", "stderr": "because\n"}]}
    assert play_events._message(item) == "no | because"
    assert play_events._message({}) == "no message"
