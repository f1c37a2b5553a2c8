"""Completion of the command line: the script for a shell, and the candidates that it asks for on every TAB.

Nothing heavy is imported: names of rigs and runs are names of folders.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from invoke.parser.context import ParserContext

from harness.cli.configured import runs_folder
from harness.errors import CrucibleError, UsageError
from harness.model import BACKENDS, STRATEGIES
from harness.plan.fault_schedule import CONTROLS
from harness.plan.options import BETWEEN
from harness.text import nearest, printable

ROOT = Path(__file__).resolve().parents[2]
LISTS = {"--scenario", "--backend", "--strategy"}
"""Options whose value is a list with commas: the part after the last one is completed."""
SCRIPTS = {
    "bash": """\
_pgcrucible() {
    local program=${COMP_WORDS[0]/#\\~/$HOME} word=${COMP_WORDS[COMP_CWORD]}
    local IFS=$'\\n'
    COMPREPLY=($(compgen -W "$("$program" --complete -- "${COMP_LINE:0:COMP_POINT}" 2>/dev/null)" -- "$word"))
}
complete -o default -F _pgcrucible run ./run
""",
    "zsh": """\
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -u }
_pgcrucible() {
    local -a found
    local program=${~words[1]}
    found=(${(f)"$("$program" --complete -- "${(j: :)words[1,CURRENT]}" 2>/dev/null)"})
    if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _pgcrucible run ./run
""",
    "fish": """\
function __pgcrucible
    set -l line (commandline --cut-at-cursor --current-process)
    set -l program (string replace -r '^~' $HOME -- (commandline --tokenize --current-process)[1])
    $program --complete -- "$line" 2>/dev/null
end
complete --command run --arguments '(__pgcrucible)'
""",
}
"""Shell -> script. The shell looks up `/a/path/run` by its last part too, and falls back to files."""


def run_completion(shell: str) -> None:
    """Prints the script for a shell."""
    if shell not in SCRIPTS:
        raise UsageError(f"there is no completion for '{printable(shell, 80)}'", hint=nearest(shell, SCRIPTS))
    print(SCRIPTS[shell], end="")


def candidates(line: str, contexts: Mapping[str, ParserContext], core: ParserContext) -> list[str]:
    """Returns the possible last words of `line`, a command line up to the cursor; empty for a file name."""
    words = _split(line)
    current = "" if not words or line[-1:].isspace() else words.pop()
    words = words[1:]  # the program
    if "--" in words:
        return []
    name = next((word for word in words if word in contexts), None)
    if name is None:
        return _flags(core, words) if current.startswith("-") else sorted(contexts)
    context = contexts[name]
    before = words[-1]
    if before in context.flags and context.flags[before].takes_value:
        return _values(before, current)
    if current.startswith("-"):
        return _flags(context, words)
    given = words[words.index(name) + 1 :]
    option = next((word for word in reversed(given) if word.startswith("-")), "")
    if option in context.flags and context.flags[option].kind is list:
        return _values(option, current)
    positional = [argument.name or "" for argument in context.positional_args]
    place = sum(not word.startswith("-") for word in given)
    return _values(f"{name} {positional[place]}", current) if place < len(positional) else _flags(context, words)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a quote that is still open
        return line.split()


def _flags(context: ParserContext, words: Iterable[str]) -> list[str]:
    """Returns the long options that are not given yet."""
    return sorted({name for name in context.flags if name.startswith("--")} - set(words))


def _values(option: str, current: str) -> list[str]:
    """Returns the values of an option, or of a task's positional argument; empty where they are not known."""
    known = VALUES[option]() if option in VALUES else []
    if option in LISTS and "," in current:
        head = current.rpartition(",")[0]
        return [f"{head},{value}" for value in known if value not in head.split(",")]
    return known


def _folders(root: Path, file: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted((path.parent.name for path in root.glob(f"*/{file}")), reverse=True)
    return []


def _scenarios() -> list[str]:
    from harness.scenarios import SCENARIOS

    return list(SCENARIOS)


def _runs() -> list[str]:
    with contextlib.suppress(CrucibleError):  # a task says what is wrong with the file
        return _folders(runs_folder(), "run.yml")
    return []


def _hosts() -> list[str]:
    return sorted({path.name for path in (ROOT / ".rigs").glob("*/hosts/*")})


VALUES: dict[str, Callable[[], list[str]]] = {
    **dict.fromkeys(("--scenario", "--trend"), _scenarios),
    "--backend": lambda: list(BACKENDS),
    "--strategy": lambda: list(STRATEGIES),
    "--control": lambda: list(CONTROLS),
    "--aa-between": lambda: list(BETWEEN),
    "--provider": lambda: ["podman", "static", "vm"],
    "--rig": lambda: _folders(ROOT / ".rigs", "rig.json"),
    **dict.fromkeys(("--run", "--compare", "--resume", "--recheck", "rm run", "compare a", "compare b"), _runs),
    **dict.fromkeys(("logs host", "ssh host"), _hosts),
    "completion shell": lambda: list(SCRIPTS),
    "selfbench what": lambda: ["app", "load", "provision", "trust"],
}
"""An option, or a task and its positional argument -> the values."""
