"""The options of `bench`: one field of BenchRequest per option, with its help line and its parser.

The command line (tasks.py), tab completion, docs/commands.md and the parser are all made from these fields.
Pure and quick to import, because tab completion imports it. Options arrive as text (Invoke answers a bad integer with
a traceback); a value that is not allowed is a UsageError that names the option, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from harness.analysis.slo import Slo
from harness.errors import UsageError
from harness.model import BACKENDS, MAX_HOSTS, STRATEGIES, Backend, Mode
from harness.plan.fault_schedule import CONTROLS, MIXED, is_mixed, parse_faults
from harness.plan.option_values import backends, names, one_of, positive, require_texts, text_or_none, whole
from harness.plan.variants import Variant, parse_vary
from harness.text import nearest, printable

MAX_CLIENTS = 20_000
MAX_REQUESTS = 50_000_000
MAX_SECONDS = 86_400.0
MAX_RATE = 1_000_000.0
MAX_REPEAT = 1_000
MAX_RUNS = 100
AA_RUNS = 5
"""The fewest runs that show how much runs differ: Student's t makes the noise floor of fewer too wide to be of use."""
BETWEEN = ("restart", "provision", "none")
BLOCKS = 8
"""Blocks of a bench with variants, without --repeat; more where many pairs need more for a claim."""
LEAST_BLOCKS = 6
"""Fewer blocks allow no claim: p of a sign-flip test of n blocks is 2 / 2^n or more (analysis/paired.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How one field of BenchRequest is typed, explained, parsed and stored."""

    name: str
    """As typed, without the dashes."""
    value: str
    """The placeholder of its value in the documentation; empty for a flag."""
    help: str
    parse: Callable[[str, str], Any]
    """(option, text) -> value. Raises UsageError. Not called for a flag."""
    stored: bool
    """Whether run.yml keeps it under `options`, from which a resumed run is planned."""

    @property
    def keyword(self) -> str:
        """Its name as a parameter in Python and as a key in run.yml."""
        return self.name.replace("-", "_")

    @property
    def default(self) -> bool | None:
        """The value of an option that is not given: None, or False for a flag."""
        return None if self.value else False


def _option(
    name: str,
    value: str,
    help_line: str,
    parse: Callable[..., Any] = text_or_none,
    *,
    default: Any = None,
    stored: bool = True,
) -> Any:
    option = Option(name=name, value=value, help=help_line, parse=parse, stored=stored)
    return field(default=default, metadata={"option": option})


def _flag(name: str, help_line: str, *, stored: bool = True) -> Any:
    return _option(name, "", help_line, default=False, stored=stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """What `bench` is asked to do. Where a field is None or empty, each scenario's own default applies."""

    rig: str | None = _option("rig", "NAME", "name of the rig (default: local)", stored=False)
    hosts: int | None = _option(
        "hosts", "N", "app hosts that serve; the other provisioned hosts are drained",
        partial(whole, low=1, high=MAX_HOSTS),
    )  # fmt: skip
    scenarios: tuple[str, ...] = _option(
        "scenario", "A,B", "scenarios (default: all but capacity; ./run scenarios lists them)", default=()
    )
    backends: tuple[Backend, ...] = _option(
        "backend", "A,B", f"{', '.join(BACKENDS)} (default: each scenario's own)", backends, default=()
    )
    strategies: tuple[str, ...] = _option(
        "strategy", "A,B", f"{', '.join(STRATEGIES)} (default: each scenario's own)",
        partial(names, known=STRATEGIES), default=(),
    )  # fmt: skip
    requests: int | None = _option("requests", "N", "requests per trial", partial(whole, low=1, high=MAX_REQUESTS))
    seconds: float | None = _option(
        "seconds", "S", "length of each trial's measured window", partial(positive, high=MAX_SECONDS)
    )
    clients: int | None = _option(
        "clients", "N", "connections of the closed model: each sends again when it has its response",
        partial(whole, low=1, high=MAX_CLIENTS),
    )  # fmt: skip
    rate: float | None = _option(
        "rate", "R", "requests per second of the open model: latency counts from the instant one is due",
        partial(positive, high=MAX_RATE),
    )  # fmt: skip
    repeat: int | None = _option("repeat", "N", "trials per cell", partial(whole, low=1, high=MAX_REPEAT))
    slo: Slo | None = _option(  # noqa: RUF009 - it returns a field, as for all options
        "slo", "LIMITS", "such as p99:50ms,errors:0.1%: trials must hold it; capacity searches the highest such rate",
        Slo.parse,
    )  # fmt: skip
    seed: int = _option(
        "seed", "N", "seed of the order of trials, the keys and the arrivals (default: 1)",
        partial(whole, low=0, high=2**32 - 1), default=1,
    )  # fmt: skip
    quick: bool = _flag("quick", "one trial per cell, shorter windows and warm-ups, some scenarios on fewer cells")
    samples: bool = _flag("samples", "keep every request of long trials too (beyond 60 s or a million requests)")
    aa: int | None = _option(
        "aa", "N", f"make N runs of the same, {AA_RUNS} or more, and store how much they differ: the rig's noise floor",
        partial(whole, low=AA_RUNS, high=MAX_RUNS), stored=False,
    )  # fmt: skip
    aa_between: str | None = _option(
        "aa-between", "WHAT", "between the runs of --aa: restart the services (default), provision again, or none",
        partial(one_of, known=BETWEEN), stored=False,
    )  # fmt: skip
    vary: tuple[Variant, ...] = _option(
        "vary", "KEY=A,B", "compare settings in interleaved blocks; several keys: KEY=A,B;KEY=C,D",
        parse_vary, default=(),
    )  # fmt: skip
    variants: str | None = _option("variants", "FILE", "compare the variants of a YAML file: name: {KEY: value}")
    fail_if: str | None = _option(
        "fail-if", "slower:P%", "with --vary or --variants: exit with 1 if a variant is slower than the first by this"
    )  # fmt: skip
    resume: str | None = _option("resume", "RUN", "measure what an interrupted run still lacks", stored=False)
    faults: tuple[str, ...] = _option(
        "fault", "A,B", f"faults to inject, or {MIXED} for a seeded schedule (default: all that the rig can have)",
        parse_faults, default=(),
    )  # fmt: skip
    retry: bool = _flag("retry", "faults: send again, with the same id, what ended unknown or with 503")
    shrink: bool = _flag(
        "shrink", f"--fault {MIXED}: reduce a failing schedule to the fewest faults that still fail", stored=False
    )
    control: str | None = _option(
        "control", "NAME", f"faults: negative control that has to fail: {', '.join(CONTROLS)}",
        partial(one_of, known=CONTROLS),
    )  # fmt: skip
    base_url: str | None = _option(
        "base-url", "URL", "measure the service at http(s)://HOST:PORT instead of a rig (docs/openapi.yaml)"
    )
    dsn: str | None = _option(
        "dsn", "DSN", "with --base-url: its database, for the oracle; password in ~/.pgpass or PGPASSWORD", stored=False
    )
    yes_this_is_mine: bool = _flag(
        "yes-this-is-mine", "allow load on an address that is neither loopback nor a host of the rig", stored=False
    )
    dry_run: bool = _flag("dry-run", "print the plan, its time, disk and connections, and change nothing", stored=False)
    quiet: bool = _flag("quiet", "print no progress, only warnings and the summary", stored=False)
    json: bool = _flag("json", "print run.yml, or with --dry-run the plan, as JSON; progress to stderr", stored=False)
    texts: Mapping[str, object] = field(default_factory=dict)
    """The stored options as typed, by keyword, as run.yml keeps them."""

    @classmethod
    def parse(
        cls, texts: Mapping[str, object], *, known_scenarios: Collection[str], suite: Collection[str] | None = None
    ) -> BenchRequest:
        """The request of these options as typed, by keyword; None, False or absent: not given.

        `suite`: the scenarios without --scenario (None: all known ones).
        Raises UsageError for the first value that is not allowed, and for options that exclude each other.
        """
        require_texts(texts)
        by_keyword = {option.keyword: name for name, option in OPTIONS.items()}
        values: dict[str, Any] = {"scenarios": tuple(known_scenarios if suite is None else suite)}
        for keyword, text in texts.items():
            name = by_keyword.get(keyword)
            if name is None:
                raise UsageError(f"bench has no option '{printable(keyword, 200)}'", hint=nearest(keyword, by_keyword))
            if text is None or text is False:  # not given; older runs stored False for some
                continue
            option = OPTIONS[name]
            parse = partial(names, known=known_scenarios) if name == "scenarios" else option.parse
            values[name] = parse(option.name, str(text)) if option.value else bool(text)
        if values.keys() & set(_OF_FAULTS) and not texts.get("scenario"):
            values["scenarios"] = ("faults",)
        stored = {o.keyword: texts.get(o.keyword, o.default) for o in OPTIONS.values() if o.stored}
        request = cls(**values, texts=stored)
        request._require_compatible()
        return request

    def _require_compatible(self) -> None:
        if self.rate is not None and self.clients is not None:
            raise UsageError(
                "--rate (open model) and --clients (closed model) are mutually exclusive",
                hint="open model: --rate with --seconds or --requests; closed model: --clients with either",
            )
        if self.base_url and (self.aa or self.resume):
            raise UsageError("--base-url cannot be combined with --aa or --resume", hint="both need a provisioned rig")
        if self.aa and self.resume:
            raise UsageError("--aa cannot be combined with --resume", hint="--resume RUN finishes one run of them")
        if self.json and (self.aa or self.shrink):
            option = "--aa" if self.aa else "--shrink"
            raise UsageError(
                f"--json is about one run, and {option} makes several", hint="./run report --run RUN --json"
            )
        if self.aa_between and not self.aa:
            raise UsageError("--aa-between needs --aa", hint=f"for example --aa {AA_RUNS}")
        if self.dsn and not self.base_url:
            raise UsageError("--dsn needs --base-url", hint="a rig's own database is known; leave out --dsn")
        of_faults = [f"--{OPTIONS[name].name}" for name in _OF_FAULTS if getattr(self, name)]
        takes = ("faults", "list-append") if of_faults == ["--fault"] else ("faults",)
        if of_faults and not set(takes) & set(self.scenarios):
            raise UsageError(f"{of_faults[-1]} needs the scenario faults", hint="leave out --scenario")
        if self.shrink and not (len(self.faults) == 1 and is_mixed(self.faults[0])):
            raise UsageError("--shrink needs a schedule of several faults", hint=f"--fault {MIXED} --shrink")
        if self.vary and self.variants:
            raise UsageError("--vary and --variants exclude each other", hint="write all variants into the file")
        if self.vary or self.variants:
            self._require_blocks()
        elif self.fail_if and not self.resume:
            raise UsageError(
                "--fail-if needs --vary or --variants", hint="two runs: ./run compare RUN-A RUN-B --fail-if slower:5%"
            )

    def _require_blocks(self) -> None:
        """Raises UsageError for options that do not fit a comparison of variants in blocks."""
        option = "--vary" if self.vary else "--variants"
        if self.aa:
            raise UsageError(
                f"--aa cannot be combined with {option}",
                hint="variants are compared within blocks and need no noise floor",
            )
        if self.repeat == 1:
            raise UsageError(
                f"--repeat 1 with {option}: one block shows no difference",
                hint=f"leave it out ({BLOCKS} blocks), or give {LEAST_BLOCKS} or more",
            )

    @property
    def compares_nothing(self) -> bool:
        """Whether --quick measures each cell once: no time of one cell can be distinguished from that of another."""
        return self.quick and self.repeat in (None, 1) and not self.vary and self.variants is None

    @property
    def mode(self) -> Mode:
        """A rate makes the load open: requests are sent when they are due, whether or not responses arrive."""
        return "closed" if self.rate is None else "open"


_OF_FAULTS = ("faults", "retry", "shrink", "control")
"""Fields that only the scenario faults reads; with one of them it is the default scenario."""

OPTIONS: dict[str, Option] = {each.name: each.metadata["option"] for each in fields(BenchRequest) if each.metadata}
"""Every option of bench, by its field."""
