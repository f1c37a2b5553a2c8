"""The configuration: defaults < pgcrucible.yml < PGCRUCIBLE_… < options; each value knows where it comes from.

    rig: mine                 # PGCRUCIBLE_RIG
    results: /srv/results     # PGCRUCIBLE_RESULTS
    provision: {hosts: 4}     # PGCRUCIBLE_PROVISION_HOSTS
    bench: {seconds: 20}      # PGCRUCIBLE_BENCH_SECONDS

`bench` has the options that say how to measure. Those that permit something, choose one run or make a run fail on
purpose are typed each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    create_model,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from harness.cli.configured import DEFAULT_RIG, FILE, PREFIX, config_file, variables
from harness.errors import UsageError
from harness.model import MAX_HOSTS
from harness.plan.option_values import names as parse_names
from harness.plan.options import OPTIONS, Option
from harness.provision.providers import PROVIDERS
from harness.provision.yaml_file import line_of, mapping_at, read_yaml
from harness.rig.state import ROOT, check_name
from harness.scenarios import SCENARIOS
from harness.text import nearest, printable

BENCH = (
    "hosts", "scenario", "backend", "strategy", "requests", "seconds", "clients", "rate", "repeat", "slo", "seed",
    "quick", "samples", "base_url", "quiet",
)  # fmt: skip
"""Options of bench that can be configured, by keyword."""
BY_KEYWORD = {option.keyword: option for option in OPTIONS.values()}
Word = str | StrictInt | StrictFloat
Text = Word | list[Word] | None
"""The value of an option. Strict: `seconds: yes` is true in YAML, which is not the number 1."""
_STRICT = ConfigDict(extra="forbid")


def _field(option: Option) -> tuple[Any, Any]:
    kind: Any = Text if option.value else bool
    return kind, Field(default=option.default, description=option.help)


def _no_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are no number")  # noqa: TRY004 - pydantic reports no TypeError
    return value


class Provision(BaseModel):
    """Options of provision and quickstart."""

    model_config = _STRICT
    inventory: str | None = Field(default=None, description="inventory file, relative to the present folder")
    provider: str | None = Field(
        default=None, description=f"one of {', '.join(PROVIDERS)}", json_schema_extra={"enum": [*PROVIDERS]}
    )
    hosts: Annotated[int | None, BeforeValidator(_no_flag)] = Field(
        default=None, ge=1, le=MAX_HOSTS, description="number of app hosts"
    )


Bench = create_model(
    "Bench", __config__=_STRICT, __doc__="Options of bench.", **{k: _field(BY_KEYWORD[k]) for k in BENCH}
)  # type: ignore[call-overload]  # fields made from OPTIONS


class Configuration(BaseSettings):
    """What pgcrucible.yml may contain; each key is also an environment variable."""

    model_config = SettingsConfigDict(
        extra="forbid",
        env_prefix=PREFIX,
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        title=FILE,
    )
    file_values: ClassVar[dict[str, Any]] = {}

    rig: str = Field(default=DEFAULT_RIG, description="rig of every task that works on one")
    results: str = Field(
        default="results",
        description="folder of the runs (default: in the checkout); a relative path counts from the present folder",
    )
    provision: Provision = Field(default_factory=Provision, description="options of provision and quickstart")
    bench: Bench = Field(default_factory=Bench, description="options of bench")  # type: ignore[valid-type]  # made at run time

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic-settings passes all by keyword
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment before the file."""
        return env_settings, InitSettingsSource(settings_cls, cls.file_values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One value of the configuration: its keys, and where it comes from."""

    keys: tuple[str, ...]
    value: Any
    origin: str

    @property
    def name(self) -> str:
        """The keys as one word: `bench.seconds`."""
        return ".".join(self.keys)

    @property
    def text(self) -> str | bool | None:
        """The value as an option is typed: a list with commas."""
        if self.value is None or isinstance(self.value, bool):
            return self.value
        return ",".join(map(str, self.value)) if isinstance(self.value, list) else str(self.value)


def variable_names() -> dict[str, tuple[str, ...]]:
    """Returns every setting: its environment variable -> its keys."""
    names: dict[str, tuple[str, ...]] = {}
    for key, field in Configuration.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        for keys in [(key, part) for part in inner] if inner else [(key,)]:
            names[PREFIX + "_".join(keys).upper()] = keys
    return names


def described(keys: tuple[str, ...]) -> str:
    """Returns the meaning of a setting."""
    fields = Configuration.model_fields
    for key in keys[:-1]:
        fields = getattr(fields[key].annotation, "model_fields", {})
    return fields[keys[-1]].description or ""


@cache
def load() -> tuple[Setting, ...]:
    """Returns all settings with their origins. Raises UsageError with file and line, or variable, for a wrong one."""
    path, names = config_file(), variable_names()
    values = _read(path) if path else {}
    for name in variables():
        if name not in names:
            raise UsageError(f"{name}: there is no such setting", hint=nearest(name, names))
    Configuration.file_values = values
    try:
        configuration = Configuration()
    except ValidationError as error:
        first = error.errors()[0]
        keys = tuple(str(part) for part in first["loc"][:2])
        raise UsageError(
            f"{_origin(keys, path, values, names)}: {'.'.join(keys)}: {printable(first['msg'], 200)}",
            hint="./run config --schema describes every key",
        ) from None
    settings = tuple(
        Setting(keys=keys, value=_at(configuration, keys), origin=_origin(keys, path, values, names))
        for keys in names.values()
    )
    for setting in settings:
        _check(setting)
    return settings


def _read(path: Path) -> dict[str, Any]:
    """Returns the content of the file. Raises UsageError with the line of an unknown key, and the nearest one."""
    values = mapping_at(
        path, (), read_yaml(path, hint="PGCRUCIBLE_CONFIG names another file"), (*Configuration.model_fields,)
    )
    for key, field in Configuration.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner and key in values:
            values[key] = mapping_at(path, (key,), values[key], (*inner,))
    return values


def _at(source: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        source = getattr(source, key)
    return source


def _origin(
    keys: tuple[str, ...], path: Path | None, values: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]
) -> str:
    """Returns the variable, the file with its line, or `default`."""
    for name, known in names.items():
        if known[: len(keys)] == keys[: len(known)] and name in variables():
            return name
    inside: Any = values
    for key in keys:
        if not isinstance(inside, Mapping) or key not in inside:
            return "default"
        inside = inside[key]
    return f"{path}:{line_of(path, keys)}" if path else "default"


def _check(setting: Setting) -> None:
    """Raises UsageError for a value that its option does not allow, with the origin."""
    if setting.value is None or setting.origin == "default":
        return
    try:
        _checker(setting)(str(setting.text))
    except UsageError as error:
        raise UsageError(f"{setting.origin}: {setting.name}: {error.message}", hint=error.hint) from None


def _checker(setting: Setting) -> Callable[[str], Any]:
    if setting.keys == ("rig",):
        return check_name
    if setting.keys == ("provision", "provider"):
        return _provider
    if setting.keys == ("bench", "scenario"):
        return lambda text: parse_names("scenario", text, known=SCENARIOS)
    if setting.keys[0] == "bench" and (option := BY_KEYWORD[setting.keys[1]]).value:
        return lambda text: option.parse(option.name, text)
    return lambda text: text


def _provider(text: str) -> None:
    if text not in PROVIDERS:
        raise UsageError(f"there is no provider '{printable(text, 80)}'", hint=nearest(text, PROVIDERS))


def settings_of(settings: tuple[Setting, ...], task: str) -> dict[str, Any]:
    """Returns the arguments of a task that are configured, by keyword; defaults are left to the task."""
    group = "provision" if task == "quickstart" else task
    return {
        setting.keys[-1]: setting.text
        for setting in settings
        if setting.origin != "default" and (setting.keys[0] == group or (setting.name == "rig" and task != "status"))
    }


def results_folder() -> Path:
    """Returns the folder of the runs."""
    setting = next(setting for setting in load() if setting.keys == ("results",))
    return ROOT / "results" if setting.origin == "default" else Path(str(setting.value))


def lines(settings: tuple[Setting, ...]) -> Iterator[str]:
    """Yields each setting with its origin, in columns."""
    shown = [
        (setting.name, "not set" if setting.text is None else str(setting.text), setting.origin) for setting in settings
    ]
    widths = [max(len(row[column]) for row in shown) for column in (0, 1)]
    for name, value, origin in shown:
        yield f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}"
