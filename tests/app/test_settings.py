from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError


def test_defaults_are_valid_and_each_setting_has_a_help_line() -> None:
    settings = Settings.from_environment({})
    by_text = {item.name.upper(): f"{getattr(settings, item.name)}" for item in fields(Settings)}
    assert Settings.from_environment(by_text) == settings
    assert all(len(item.metadata["help"]) > 10 for item in fields(Settings))


def test_reads_numbers_and_texts() -> None:
    settings = Settings.from_environment({"POOL_SIZE": "20", "POOL_IDLE_SECONDS": "0.5", "CONTAINER_ID": "app-7"})
    assert (settings.pool_size, settings.pool_idle_seconds, settings.container_id) == (20, 0.5, "app-7")


def test_the_minimum_may_not_exceed_the_pool_size() -> None:
    assert Settings.from_environment({"POOL_MIN": "20", "POOL_SIZE": "20"}).pool_min == 20
    with pytest.raises(SettingsError, match="POOL_MIN=6: expected at most POOL_SIZE, 5"):
        Settings.from_environment({"POOL_MIN": "6"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("POOL_SIZE", "0"),
        ("POOL_SIZE", "five"),
        ("POOL_SIZE", "1.5"),
        ("POOL_MIN", "-1"),
        ("PORT", "65536"),
        ("BACKEND", "mysql"),
        ("CONTAINER_ID", 'a"b'),
        ("CONTAINER_ID", ""),
        ("LOG_LEVEL", "TRACE"),
        ("POOL_WAIT_SECONDS", "nan"),
        ("POSTGRES_SSLMODE", "yes"),
        ("POSTGRES_PASSWORD_FILE", "/nonexistent/password"),
    ],
)
def test_an_invalid_value_is_refused_with_the_variables_name(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_environment({name: text})


def test_the_password_comes_from_a_file_and_is_never_printed(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    settings = Settings.from_environment({"POSTGRES_PASSWORD_FILE": str(file)})
    assert settings.postgres_password == "s3cret"
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings.public())
    with pytest.raises(SettingsError, match="not both"):
        Settings.from_environment({"POSTGRES_PASSWORD_FILE": str(file), "POSTGRES_PASSWORD": "x"})
