"""Revisions of a small checkout with a real git: what names mean, and what is deployed of each."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from harness.errors import RigError, UsageError
from harness.plan.fault_schedule import CONTROLS
from harness.provision import bundle, revision
from harness.provision.revision import RevisionBundle, build_revision, entry, resolve
from harness.rig import state

PYTHON, MACHINE = "3.11", "x86_64"


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=revision.ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def write(name: str, text: str) -> None:
    path = revision.ROOT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(**files: str) -> str:
    for name, text in files.items():
        write(name, text)
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", "x")
    return git("rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "checkout"
    root.mkdir()
    for module in (bundle, revision):
        monkeypatch.setattr(module, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(revision, "ROOT", root)
    git("init", "-q", "-b", "main")
    write("README", "no service yet")
    commit()
    git("tag", "flat")
    commit(**{
        "app/__main__.py": "1\n", "app/schema.sql": "--\n", "requirements-host.lock": "a==1\n",
        "harness/x.py": "", "app/.hidden": "no",
    })  # fmt: skip
    return root


def build(name: str, installed: str | None = None) -> RevisionBundle:
    known = bundle.hash_wheels(b"a==1\n", PYTHON, MACHINE) if installed is None else installed
    return build_revision(name, python=PYTHON, machine=MACHINE, installed=known)


def names_in(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        return sorted(member.name for member in archive if member.isfile() and "__pycache__" not in member.name)


def test_names_of_git_mean_commits_and_a_name_stays_what_it_is() -> None:
    head = git("rev-parse", "HEAD")
    git("branch", "other")
    names = ["HEAD", "main", "other", head, head[:7], "HEAD~0", head[:12]]
    assert {resolve(name) for name in names} == {head[:12]}
    assert resolve("flat") != head[:12]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mian", "did you mean 'main'?"),
        ("deadbeef", "known: HEAD, flat, main, worktree"),
        ("-x", "known: "),
        ("a b", ""),
    ],
)
def test_a_revision_that_does_not_exist_is_a_usage_error(name: str, hint: str) -> None:
    with pytest.raises(UsageError, match="there is no such revision") as error:
        resolve(name)
    assert hint in error.value.hint


def test_a_blob_is_no_revision() -> None:
    with pytest.raises(UsageError, match="no such revision"):
        resolve(git("rev-parse", "HEAD:app/__main__.py"))


def test_a_folder_without_git_has_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision, "ROOT", tmp_path / "cache")
    with pytest.raises(UsageError, match="not a git repository"):
        resolve("main")


def test_head_is_the_commit_and_worktree_the_files_as_they_are() -> None:
    before = resolve("worktree")
    write("app/__main__.py", "changed\n")
    assert resolve("worktree") == resolve(".") != before
    committed, as_it_is = build(resolve("HEAD")), build(resolve("."))
    for built, text in ((committed, b"1\n"), (as_it_is, b"changed\n")):
        with tarfile.open(built.code) as archive:
            assert archive.extractfile("app/__main__.py").read() == text  # type: ignore[union-attr]


def test_files_that_change_after_they_were_named_are_refused() -> None:
    before = resolve("worktree")
    write("app/__main__.py", "changed\n")
    with pytest.raises(UsageError, match="have changed since"):
        resolve(before)
    with pytest.raises(RigError, match="have changed since"):
        build(before)


def test_only_the_service_is_deployed_and_the_same_packages_are_shared() -> None:
    built = build(resolve("HEAD"))
    assert names_in(built.code) == ["app/__main__.py", "app/schema.sql"]
    assert (built.wheels, built.notes) == (None, ())
    assert build(resolve("HEAD")).code == built.code


def test_other_packages_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    locks: list[str] = []
    monkeypatch.setattr(
        bundle, "_install", lambda tree, lock, *_: (locks.append(lock), tree.mkdir(), (tree / "a.py").write_text(""))
    )
    first = resolve("HEAD")
    commit(**{"requirements-host.lock": "a==2\n"})
    built = build(resolve("HEAD"))
    assert locks == ["a==2\n"]
    assert built.wheels is not None
    assert names_in(built.wheels) == ["a.py"]
    assert built.wheels_hash == bundle.hash_wheels(b"a==2\n", PYTHON, MACHINE)
    assert build(first, installed="of another host").wheels is not None


def test_packages_that_cannot_be_had_name_the_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RigError("pip could not install the packages", hint="h")

    monkeypatch.setattr(bundle, "_install", fails)
    name = resolve("HEAD")
    with pytest.raises(RigError, match=f"code={name}: pip could not install"):
        build(name, installed="other")


@pytest.mark.parametrize("missing", ["app/__main__.py", "requirements-host.lock"])
def test_a_revision_without_the_service_in_its_present_form_is_refused(missing: str) -> None:
    git("rm", "-q", missing)
    commit()
    with pytest.raises(RigError, match=f"it has no {missing}"):
        build(resolve("HEAD"))
    with pytest.raises(RigError, match=r"it has no app/__main__\.py"):
        build(resolve("flat"))


def test_another_schema_is_noted() -> None:
    old = resolve("HEAD")
    commit(**{"app/schema.sql": "-- new\n"})
    assert build(resolve("HEAD")).notes == ()
    assert build(old).notes == (f"code={old} has another app/schema.sql; the database has the checkout's",)


def test_old_revisions_leave_the_cache(tmp_path: Path) -> None:
    for n in range(bundle.KEPT + 2):
        build(resolve(commit(**{"app/n.py": f"{n}\n"})))
    assert len(list((tmp_path / "cache").glob("revision-*"))) == bundle.KEPT
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()], "no folder of a build is left"


def test_a_control_is_the_checkouts_service_with_the_modules_of_controls() -> None:
    write("controls/early_answer.py", "wrong\n")
    first = build("control-early-answer").code
    assert names_in(first) == ["app/__main__.py", "app/schema.sql", "controls/early_answer.py"]
    assert "controls/early_answer.py" not in names_in(build(resolve("worktree")).code)
    write("controls/early_answer.py", "wrong in another way\n")
    assert build("control-early-answer").code != first


def test_no_option_names_a_control() -> None:
    with pytest.raises(UsageError, match="no such revision"):
        resolve("control-early-answer")


def test_every_control_with_code_of_its_own_has_its_module() -> None:
    assert entry("0123456789ab") == entry("worktree-0123456789ab") == entry("") == "app"
    named = {str(each.params["code"]) for each in CONTROLS.values() if "code" in each.params}
    modules = {f"controls.{path.stem}" for path in (state.ROOT / "controls").glob("[!_]*.py")}
    assert {entry(name) for name in named} == modules != set()
