"""What a suite asks for, read from TOML.

    name = "mobile-x3"
    data = ["samples"]              # image sets for PSNR; see `edgesr eval`

    [plan]                          # as the options of `edgesr bench`
    runs = 20
    processes = 1

    [[part]]                        # one or more; everything times everything
    networks = ["plain-m-x3"]       # names, checkpoints, or a pattern of shipped names: "*-x3"
    targets = ["tflite", "onnx"]
    precisions = ["fp32", "int8"]
    shapes = ["360x640"]
    devices = ["cpu"]
    threads = [1, 2]
    runtimes = ["litert", "ort"]    # of cpu; left out: all that open the file

A mistake is reported with file, line, key and what would be right.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from edgesr.benchmarks.devices import open_device
from edgesr.benchmarks.entrants import TORCH, USUAL
from edgesr.benchmarks.harness import Plan

from edgesr.data import datasets
from edgesr.errors import BadFileError, EdgesrError, UsageError
from edgesr.models.intake import shipped_names
from edgesr.runtime import RUNTIMES
from edgesr.targets import Precision, target_names

Shape = tuple[int, int]
PLAN = Plan(runs=20, processes=1)
"""What [plan] leaves out."""
_SHIPPED = resources.files("edgesr.benchmarks") / "suites"


@dataclass(frozen=True)
class Part:
    """One block: every network in every target, precision and shape, on every device."""

    networks: tuple[str, ...]
    targets: tuple[str, ...] = ("tflite",)
    precisions: tuple[str, ...] = ("int8",)
    shapes: tuple[Shape, ...] = ((360, 640),)
    devices: tuple[str, ...] = ("cpu",)
    threads: tuple[int, ...] = (1,)
    runtimes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A suite and the text it was read from."""

    name: str
    parts: tuple[Part, ...]
    plan: Plan = PLAN
    data: tuple[str, ...] = ()
    text: str = ""


def shipped_suites() -> list[str]:
    """Names of the suites that come with edgesr."""
    names = (item.name for item in _SHIPPED.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def find_suite(name: str) -> Suite:
    """The shipped suite called `name`, or the one in that file.

    Raises:
        UsageError: there is none, or its text asks for something that does not exist.
        BadFileError: not TOML, or not readable.
    """
    if name in shipped_suites():
        return parse((_SHIPPED / f"{name}.toml").read_text(), f"suites/{name}.toml")
    path = Path(name)
    if not path.is_file():
        known = ", ".join(shipped_suites())
        raise UsageError(f"no suite is called `{name}`{_meant(name, shipped_suites())}; {known}, "
                         "or the path of a .toml file")  # fmt: skip
    try:
        return parse(path.read_text(), name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(f"cannot read {path}: {error}") from error


def parse(text: str, place: str) -> Suite:
    """A suite from TOML; `place` is the file's name, for errors.

    Raises:
        UsageError: an unknown key, a wrong type, something that does not exist.
        BadFileError: not TOML.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFileError(f"{place} is not TOML: {error}") from error
    top = _Table(document, place, text, "", 0)
    top.only("name", "data", "plan", "part")
    blocks = document.get("part")
    if not isinstance(blocks, list) or not blocks:
        raise UsageError(f"{place} has no [[part]] block: nothing to time")
    tables = [_Table(block, place, text, "part", n) for n, block in enumerate(blocks)]
    plan = _plan(_Table(document.get("plan", {}), place, text, "plan", 0))
    return Suite(
        name=top.text("name", Path(place).stem),
        parts=tuple(_part(table) for table in tables),
        plan=plan,
        data=top.each("data", (), _data),
        text=text,
    )


class _Table:
    """One table of the file, which knows where its keys stand."""

    def __init__(self, values: Any, place: str, text: str, header: str, number: int) -> None:
        self._place, self._text, self._header, self._number = place, text, header, number
        if not isinstance(values, Mapping):
            raise UsageError(f"{place}: [{header}] is a table, not {values!r}")
        self._values: Mapping[str, Any] = values

    def only(self, *keys: str) -> None:
        """Refuse any other key."""
        for key in self._values:
            if key not in keys:
                known = ", ".join(keys)
                raise self.wrong(key, f"is no key here{_meant(key, keys)}; there are {known}")

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str, default: str) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, f"is text, not {value!r}")
        return value

    def number(self, key: str, default: float) -> Any:
        value = self._values.get(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise self.wrong(key, f"is a number, not {value!r}")
        return value

    def each(self, key: str, default: tuple[Any, ...], check: Callable[[Any], Any]) -> Any:
        """The list at `key` (one value stands for a list of it), every item checked."""
        if key not in self._values:
            return default
        value = self._values[key]
        items = value if isinstance(value, list) else [value]
        if not items:
            raise self.wrong(key, "is empty; leave it out for the default")
        checked: list[Any] = []
        for item in items:
            try:
                found = check(item)
            except EdgesrError as error:
                raise self.wrong(key, f"names {item!r}: {error}") from error
            checked += found if isinstance(found, list) else [found]
        return tuple(dict.fromkeys(checked))

    def wrong(self, key: str, what: str) -> UsageError:
        """`file:line: key ...`."""
        line = self._line(key)
        return UsageError(f"{self._place}:{line}: `{key}` {what}")

    def _line(self, key: str) -> int:
        """Where `key` is set in this table; the first line if it cannot be told."""
        header, seen = "", -1
        for number, line in enumerate(self._text.splitlines(), 1):
            table = re.match(r"\s*\[{1,2}\s*([\w-]+)\s*\]{1,2}", line)
            if table:
                header = table[1]
                seen += header == self._header
            inside = header == self._header and (not header or seen == self._number)
            if inside and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
        return 1


def _plan(table: _Table) -> Plan:
    names = {"runs": int, "warm-up": int, "processes": int, "until-stable": float}
    table.only(*names)
    values = {}
    for name, kind in names.items():
        field = name.replace("-", "_")
        values[field] = kind(table.number(name, getattr(PLAN, field)))
        try:
            dataclasses.replace(PLAN, **{field: values[field]})
        except UsageError as error:
            raise table.wrong(name, f"makes no sense: {error}") from error
    return dataclasses.replace(PLAN, **values)


def _part(table: _Table) -> Part:
    checks: dict[str, Callable[[Any], Any]] = {
        "networks": _networks,
        "targets": lambda name: _one_of(name, target_names()),
        "precisions": lambda name: _one_of(name, get_args(Precision)),
        "shapes": _shape,
        "devices": _device,
        "threads": _threads,
        "runtimes": lambda name: _one_of(name, (*RUNTIMES, TORCH)),
    }
    table.only(*checks)
    if not table.has("networks"):
        raise table.wrong("networks", "is missing in a [[part]]: what should be timed?")
    given = {key: check for key, check in checks.items() if table.has(key)}
    return Part(**{key: table.each(key, (), check) for key, check in given.items()})


def _one_of(name: Any, known: Collection[str]) -> str:
    if name not in known:
        raise UsageError(f"unknown{_meant(str(name), known)}; there are {', '.join(known)}")
    return str(name)


def _networks(name: Any) -> list[str]:
    """A pattern becomes the shipped networks it fits; anything else is opened when its turn comes,
    so that one broken checkpoint does not stop the rest."""
    if not isinstance(name, str):
        raise UsageError("a network is given by its name, as text")
    if not any(sign in name for sign in "*?["):
        return [name]
    fitting = [shipped for shipped in shipped_names() if fnmatchcase(shipped, name)]
    if not fitting:
        raise UsageError(f"no shipped network fits; there are {', '.join(shipped_names())}")
    return fitting


def _shape(text: Any) -> Shape:
    match = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(text))
    if match is None:
        raise UsageError('a shape is HEIGHTxWIDTH, such as "360x640"')
    return int(match[1]), int(match[2])


def _device(name: Any) -> str:
    if name != "cpu":
        open_device(str(name))
    return str(name)


def _threads(count: Any) -> int:
    if type(count) is not int or count < 1:
        raise UsageError("threads are whole numbers from 1 up")
    return count


def _data(name: Any) -> str:
    if str(name).lower() not in datasets.NAMES and not Path(str(name)).exists():
        known = ", ".join(datasets.NAMES)
        raise UsageError(
            f"no image set and no folder{_meant(str(name), datasets.NAMES)}; there are {known}"
        )
    return str(name)


def _meant(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean `{close[0]}`?" if close else ""


def runtimes_of(part: Part) -> tuple[str, ...]:
    """Runtimes that take part on the processor of this machine."""
    return part.runtimes or USUAL
