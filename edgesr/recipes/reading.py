"""Recipes from files, with overrides; every mistake is named with its file and line."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgesr.errors import BadFileError, EdgesrError, UsageError
from edgesr.models.registry import entries, parse_name
from edgesr.recipes import lines
from edgesr.recipes.schema import Export, Qat, Recipe, Stage
from edgesr.train.distil import STRATEGIES
from edgesr.train.losses import LOSSES

FOLDER = Path(__file__).parent

Table = dict[str, Any]


def shipped() -> list[str]:
    """Names of the recipes that come with edgesr."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def shipped_text(name: str) -> str:
    """The file of a shipped recipe."""
    return (FOLDER / f"{name}.toml").read_text()


def read(spec: str, settings: Sequence[str] = (), **top: Any) -> Recipe:
    """The recipe of a file, a shipped recipe's name, or a network's name (all defaults).

    Args:
        spec: `recipes/mine.toml`, `ncnet-x3`. A path to no file whose name is a shipped recipe's
            (`recipes/ncnet-x3.toml`) is that one.
        settings: `KEY=VALUE`, as in TOML; `steps=100` holds for every stage, `stage.main.steps`
            and `qat.steps` for one.
        top: keys of the recipe itself, such as `data`; None is no override.

    Raises:
        BadFileError: no such file, no TOML, an unknown key, a wrong value: with file and line.
        UsageError: the same in `settings`.
    """
    path, text = _text(spec)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadFileError(f"{path}: {error}") from error
    reader = _Reader(str(path), text)
    for setting in settings:
        reader.override(table, setting)
    for key, value in top.items():
        if value is not None:
            table[key] = value
            reader.given[(key,)] = f"--{key}"
    recipe: Recipe = reader.build(Recipe, table, ())
    if not recipe.stage:
        recipe = replace(recipe, stage={"main": reader.build(Stage, {}, ("stage", "main"))})
    reader.check(recipe)
    return recipe


def _text(spec: str) -> tuple[str, str]:
    path = Path(spec)
    if path.suffix == ".toml" and path.is_file():
        try:
            return str(path), path.read_text()
        except UnicodeDecodeError as error:
            raise BadFileError(f"{path} is no text") from error
    name = path.name.removesuffix(".toml")
    if name in shipped():
        return f"{name}.toml (shipped)", shipped_text(name)
    if path.suffix == ".toml":
        raise BadFileError(f"no such recipe: {path}; shipped ones are {', '.join(shipped())}")
    try:
        parse_name(spec)
    except UsageError as error:
        names = [*shipped(), *(f"{e.name}-x{s}" for e in entries().values() for s in e.scales)]
        close = difflib.get_close_matches(spec, names, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"recipes: {', '.join(shipped())}"
        raise UsageError(f"neither a recipe nor a network is called `{spec}`; {hint}") from error
    return spec, f'network = "{spec}"\n'


class _Reader:
    """Tables to dataclasses, knowing where each key came from."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.given: dict[lines.Path, str] = {}
        """Keys that are not from the file, and the option they are from."""

    def override(self, table: Table, setting: str) -> None:
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"--set {setting}: write KEY=VALUE, such as steps=1000")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()  # a word: quotes would have to survive the shell
        path = tuple(key.strip().split("."))
        for target in self._targets(table, path):
            inner = table
            for part in target[:-1]:
                inner = inner.setdefault(part, {})
                if not isinstance(inner, dict):
                    raise UsageError(f"--set {setting}: `{part}` is no table")
            inner[target[-1]] = value
            self.given[target] = f"--set {setting}"

    def _targets(self, table: Table, path: lines.Path) -> list[lines.Path]:
        """A bare key of stages holds for all of them."""
        stages = {f.name for f in fields(Stage)}
        if len(path) == 1 and path[0] in stages and path[0] not in {f.name for f in fields(Recipe)}:
            return [("stage", name, path[0]) for name in table.get("stage") or {"main": {}}]
        return [path]

    def build(self, kind: Any, table: Any, path: lines.Path) -> Any:
        """A dataclass from a table.

        Raises:
            BadFileError, UsageError: unknown keys, wrong types, values out of range.
        """
        if not isinstance(table, dict):
            raise self.error(path, f"`{'.'.join(path)}` must be a table")
        known = {f.name: f for f in fields(kind)}
        hints = get_type_hints(kind)
        values = {}
        for key, value in table.items():
            here = (*path, key)
            if key not in known:
                raise self.error(here, f"unknown key `{key}`; {_suggest(key, known, not path)}")
            values[key] = self._value(hints[key], value, here)
            smallest = known[key].metadata.get("least")
            if smallest is not None and values[key] is not None and values[key] < smallest:
                raise self.error(here, f"`{key}` must be at least {smallest:g}, not {value}")
        return kind(**values)

    def _value(self, hint: Any, value: Any, path: lines.Path) -> Any:
        if get_origin(hint) is UnionType:
            hint = next(option for option in get_args(hint) if option is not type(None))
        if is_dataclass(hint):
            return self.build(hint, value, path)
        origin, inner = get_origin(hint), get_args(hint)
        if origin is Literal:
            if value not in inner:
                raise self.error(path, f"`{path[-1]}` must be one of {', '.join(inner)}")
            return value
        if origin is dict:
            if not isinstance(value, dict):
                raise self.error(path, f"`{path[-1]}` must be a table")
            return {k: self._value(inner[1], v, (*path, k)) for k, v in value.items()}
        if origin is tuple:
            if not isinstance(value, (list, tuple)):
                raise self.error(path, f"`{path[-1]}` must be a list")
            return tuple(self._value(inner[0], item, path) for item in value)
        number = hint is float and type(value) in (int, float)
        if type(value) is not hint and not number:
            names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
            raise self.error(path, f"`{path[-1]}` must be {names[hint]}, not {value!r}")
        return float(value) if number else value

    def check(self, recipe: Recipe) -> None:
        """What types cannot say."""
        if not recipe.network:
            raise self.error(("network",), "`network` is missing: which one comes out?")
        self._named(recipe.network, ("network",))
        for name, stage in recipe.stage.items():
            here = ("stage", name)
            if stage.network:
                self._named(stage.network, (*here, "network"))
            for loss in stage.loss:
                if loss not in LOSSES:
                    found = _suggest(loss, LOSSES)
                    raise self.error((*here, "loss", loss), f"no loss `{loss}`; {found}")
            if stage.distil and stage.distil not in STRATEGIES:
                found = _suggest(stage.distil, STRATEGIES)
                raise self.error((*here, "distil"), f"no strategy `{stage.distil}`; {found}")
            if stage.distil and not stage.teacher:
                raise self.error((*here, "distil"), f"`{stage.distil}` needs a `teacher`")
            if (stage.distil == "tas") != bool(stage.assistant):
                raise self.error((*here, "distil"), "`tas` and `assistant` go together")
            if stage.assistant:
                self._named(stage.assistant, (*here, "assistant"))
            if stage.distil and recipe.compile:
                raise self.error(
                    ("compile",), "distillation reads maps inside the network; do not compile it"
                )
        last = list(recipe.stage)[-1]
        if recipe.stage[last].network not in ("", recipe.network):
            raise self.error(
                ("stage", last, "network"), f"the last stage must train `{recipe.network}`"
            )
        if recipe.qat and not recipe.validation and not recipe.kept:
            raise self.error(("kept",), "[qat] needs `kept` photos (or a `validation` set)")

    def _named(self, network: str, path: lines.Path) -> None:
        try:
            parse_name(network)
        except UsageError as error:
            raise self.error(path, str(error)) from error

    def error(self, path: lines.Path, message: str) -> EdgesrError:
        """The mistake with its place."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.given:
                return UsageError(f"{self.given[path[:length]]}: {message}")
        if path[:1] == ("network",) and self.path == path[0]:
            return UsageError(message)
        return BadFileError(f"{self.path}:{lines.line_of(self.text, path)}: {message}")


def _suggest(key: str, known: Mapping[str, Any], top: bool = False) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    if top:
        for table, kind in (("stage.NAME", Stage), ("qat", Qat), ("export", Export)):
            if difflib.get_close_matches(key, [f.name for f in fields(kind)], n=1, cutoff=0.9):
                return f"it belongs into [{table}]"
    return f"known: {', '.join(known)}"
