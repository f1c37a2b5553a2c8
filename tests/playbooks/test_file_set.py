"""The module that puts all files of a role in place: run by Ansible's own AnsibleModule, on real files."""

from __future__ import annotations

import grp
import importlib.util
import json
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

SOURCE = Path(__file__).parents[2] / "playbooks" / "library" / "file_set.py"
OURS = {"owner": pwd.getpwuid(os.getuid()).pw_name, "group": grp.getgrgid(os.getgid()).gr_name}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """`run(entry…, check=False)`: the module's result."""
    spec = importlib.util.spec_from_file_location("file_set", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run_module(*entries: dict[str, Any], check: bool = False) -> dict[str, Any]:
        arguments = {"files": [OURS | entry for entry in entries], "_ansible_check_mode": check}
        arguments |= {"_ansible_remote_tmp": str(tmp_path), "_ansible_keep_remote_files": False}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run_module


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_directories_are_made_once(run: Run, tmp_path: Path) -> None:
    entries = (
        {"path": str(tmp_path / "etc"), "state": "directory", "mode": "0750"},
        {"path": str(tmp_path / "etc/secret"), "content": "päss\n", "mode": "0600"},
    )
    result = run(*entries)
    assert result["changed_paths"] == [str(tmp_path / "etc"), str(tmp_path / "etc/secret")]
    assert (tmp_path / "etc/secret").read_text(encoding="utf-8") == "päss\n"
    assert (mode(tmp_path / "etc"), mode(tmp_path / "etc/secret")) == (0o750, 0o600)
    assert run(*entries)["changed"] is False


def test_a_secret_is_written_and_never_printed(run: Run, tmp_path: Path) -> None:
    entry = {"path": str(tmp_path / "key"), "secret": "first-secret\n", "mode": "0600"}
    for secret in ("first-secret\n", "second-secret\n"):
        result = run(entry | {"secret": secret})
        assert result["changed_paths"] == [str(tmp_path / "key")]
        assert "-secret" not in json.dumps(result)
        assert (tmp_path / "key").read_text() == secret
        assert run(entry | {"secret": secret})["changed"] is False
    assert mode(tmp_path / "key") == 0o600


@pytest.mark.parametrize("spoil", [lambda p: p.write_text("x"), lambda p: p.chmod(0o666), lambda p: p.unlink()])
def test_edits_by_hand_are_undone(run: Run, tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    entry = {"path": str(tmp_path / "file"), "content": "right\n"}
    run(entry)
    spoil(tmp_path / "file")
    assert run(entry)["changed"] is True
    assert ((tmp_path / "file").read_text(), mode(tmp_path / "file")) == ("right\n", 0o644)


def test_check_mode_reports_the_difference_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old\n")
    result = run({"path": str(tmp_path / "file"), "content": "new\n"}, check=True)
    assert result["changed"] is True
    assert (result["diff"][0]["before"], result["diff"][0]["after"]) == ("old\n", "new\n")
    assert (tmp_path / "file").read_text() == "old\n"


def test_content_that_fails_its_validation_is_not_written(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    entry = {"path": str(file), "validate": "grep -q good %s"}
    assert run(entry | {"content": "good\n"})["changed"] is True
    result = run(entry | {"content": "evil\n"})
    assert result["failed"] is True
    assert str(file) in result["msg"]
    assert file.read_text() == "good\n"
    assert [path.name for path in tmp_path.iterdir() if "pgcrucible" in path.name] == []


def test_a_block_does_not_change_the_rest_of_the_file(run: Run, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost")
    entry = {"path": str(hosts), "state": "block"}
    run(entry | {"content": "192.0.2.1 a\n"})
    with hosts.open("a") as file:
        file.write("192.0.2.9 mine\n")
    run(entry | {"content": "192.0.2.2 b\n"})
    assert hosts.read_text() == (
        "127.0.0.1 localhost\n# BEGIN pgcrucible\n192.0.2.2 b\n# END pgcrucible\n192.0.2.9 mine\n"
    )
    assert run(entry | {"content": "192.0.2.2 b\n"})["changed"] is False
    run(entry)
    assert hosts.read_text() == "127.0.0.1 localhost\n192.0.2.9 mine\n"


def test_a_replaced_file_is_restored_as_it_was_before_the_first_change(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text("theirs\n")
    file.chmod(0o640)
    for content in ("ours\n", "ours too\n"):
        run({"path": str(file), "content": content, "keep_original": True})
    assert run({"path": str(file), "state": "original"})["changed"] is True
    assert (file.read_text(), mode(file)) == ("theirs\n", 0o640)
    assert run({"path": str(file), "state": "original"})["changed"] is False


def test_absent_removes_files_and_whole_folders_but_follows_no_link(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keep").mkdir()
    (tmp_path / "keep/file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "keep")
    entries = tuple({"path": str(tmp_path / name), "state": "absent"} for name in ("folder", "link", "none"))
    assert len(run(*entries)["changed_paths"]) == 2
    assert [path.name for path in tmp_path.iterdir() if path.name in ("folder", "link", "keep")] == ["keep"]
    assert (tmp_path / "keep/file").exists()
    assert run(*entries)["changed"] is False
