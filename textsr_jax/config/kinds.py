"""The kinds of values that fields of a config may have, each with a description in words.

`accept` returns a value as configs keep it, with tuples for lists, or raises `Refused`.
"""

import dataclasses
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeGuard

from textsr_jax.config.names import nearest

# Limits on texts, patterns and lists of rules; nobody writes longer ones.
_TEXT, _PATTERN, _RULES = 4096, 1000, 1000
# The most errors of held-out words; a million words at 10 % have so many.
_LOSSES = 100_000


class Refused(Exception):
    """A value is not of its kind. The message says what it must be."""


class Kind(Protocol):
    """The values that a field accepts."""

    @property
    def wanted(self) -> str:
        """Describes the values; the words follow "must be"."""

    def accept(self, value: object) -> Any:
        """Returns the value as configs keep it, or raises `Refused`."""


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or false. Numbers are refused."""

    wanted = "true or false"

    def accept(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Refused(self.wanted)
        return value


@dataclasses.dataclass(frozen=True)
class Whole:
    """A whole number, both bounds included, and a multiple of `step`."""

    low: int
    high: int
    step: int = 1

    @property
    def wanted(self) -> str:
        what = "a whole number" if self.step == 1 else f"a multiple of {self.step}"
        return f"{what} from {self.low} to {self.high}"

    def accept(self, value: object) -> int:
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise Refused(self.wanted)
        number = int(value)
        if not self.low <= number <= self.high or number % self.step:
            raise Refused(self.wanted)
        return number


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of some whole numbers."""

    values: tuple[int, ...]

    @property
    def wanted(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"

    def accept(self, value: object) -> int:
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise Refused(self.wanted)
        if value not in self.values:
            raise Refused(self.wanted)
        return int(value)


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number, which becomes a float.

    Attributes:
      low, high: the bounds, included.
      open_low, open_high: whether the bound itself is refused.
      keep_whole: whether whole numbers become integers.
    """

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    keep_whole: bool = False

    @property
    def wanted(self) -> str:
        low = f"above {self.low:g}" if self.open_low else f"from {self.low:g}"
        high = f"below {self.high:g}" if self.open_high else f"{self.high:g}"
        return f"a number {low} {'and' if self.open_low and self.open_high else 'to'} {high}"

    def accept(self, value: object) -> float:
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise Refused(self.wanted)
        # Whole numbers are compared before they are floats, which have a largest one.
        number: Any = value
        inside = self.low <= number <= self.high and math.isfinite(number)
        if not inside or (self.open_low and number <= self.low):
            raise Refused(self.wanted)
        if self.open_high and number >= self.high:
            raise Refused(self.wanted)
        return int(number) if self.keep_whole and number == int(number) else float(number)


@dataclasses.dataclass(frozen=True)
class Text:
    """A text that can be a path: no null characters, no lone surrogates."""

    wanted = f"a text of at most {_TEXT} characters that can be a path"

    def accept(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > _TEXT or "\0" in value:
            raise Refused(self.wanted)
        try:
            # Python uses surrogates for file names that are not UTF-8.
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise Refused(self.wanted) from error
        return value


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some names."""

    names: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return f"one of {', '.join(map(repr, self.names))}"

    def accept(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise Refused(self.wanted + _hint(value, self.names))
        return value


@dataclasses.dataclass(frozen=True)
class Choices:
    """One or more of several names, separated by commas."""

    names: tuple[str, ...]

    @property
    def wanted(self) -> str:
        return f"one or more of {', '.join(self.names)}, separated by commas"

    def accept(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > _TEXT:
            raise Refused(self.wanted)
        chosen = [name.strip() for name in value.split(",") if name.strip()]
        for name in chosen:
            if name not in self.names:
                raise Refused(self.wanted + _hint(name, self.names))
        if not chosen:
            raise Refused(self.wanted)
        return value


@dataclasses.dataclass(frozen=True)
class Wholes:
    """A list of `count` whole numbers, both bounds included."""

    count: int
    low: int
    high: int

    @property
    def wanted(self) -> str:
        return f"a list of {self.count} whole numbers from {self.low} to {self.high}"

    def accept(self, value: object) -> tuple[int, ...]:
        if not _is_list(value) or len(value) != self.count:
            raise Refused(self.wanted)
        one = Whole(self.low, self.high)
        try:
            return tuple(one.accept(number) for number in value)
        except Refused as error:
            raise Refused(self.wanted) from error


@dataclasses.dataclass(frozen=True)
class Losses:
    """A list of pairs: a log confidence of at most 0, and a loss above 0 and at most 1."""

    wanted = f"a list of at most {_LOSSES} pairs, each a log confidence and a loss of up to 1"

    def accept(self, value: Any) -> tuple[tuple[float, float], ...]:
        if not _is_list(value) or len(value) > _LOSSES:
            raise Refused(self.wanted)
        kinds = Number(-1e3, 0), Number(0, 1, open_low=True)
        made = []
        for number, pair in enumerate(value):
            if not _is_list(pair) or len(pair) != 2:
                raise Refused(f"{self.wanted}; number {number} is not such a pair")
            try:
                made.append((kinds[0].accept(pair[0]), kinds[1].accept(pair[1])))
            except Refused as error:
                raise Refused(f"{self.wanted}; number {number} must have {error}") from error
        return tuple(made)


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A regular expression."""

    wanted = f"a regular expression of at most {_PATTERN} characters"

    def accept(self, value: object) -> str:
        if not isinstance(value, str) or len(value) > _PATTERN:
            raise Refused(self.wanted)
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError) as error:
            raise Refused(f"{self.wanted} ({error})") from error
        return value


@dataclasses.dataclass(frozen=True)
class Axes:
    """A list of rules for splitting arrays, each a regular expression and an axis."""

    wanted = f"a list of at most {_RULES} rules, each a regular expression and an axis"

    def accept(self, value: object) -> tuple[tuple[str, int], ...]:
        if not _is_list(value) or len(value) > _RULES:
            raise Refused(self.wanted)
        made = []
        for number, rule in enumerate(value):
            if not _is_list(rule) or len(rule) != 2:
                raise Refused(f"{self.wanted}; number {number} is not such a rule")
            try:
                made.append((Pattern().accept(rule[0]), Whole(-8, 7).accept(rule[1])))
            except Refused as error:
                raise Refused(f"{self.wanted}; number {number} must have {error}") from error
        return tuple(made)


@dataclasses.dataclass(frozen=True)
class Rules:
    """A list of quantisation rules: mappings with `pattern` or `set`, and some of `settings`."""

    settings: Mapping[str, Kind]
    wanted = f"a list of at most {_RULES} rules, each with either 'pattern' or 'set'"

    def accept(self, value: object) -> tuple[dict[str, Any], ...]:
        if not _is_list(value) or len(value) > _RULES:
            raise Refused(self.wanted)
        return tuple(self._rule(number, rule) for number, rule in enumerate(value))

    def _rule(self, number: int, rule: object) -> dict[str, Any]:
        if not isinstance(rule, Mapping) or len({"pattern", "set"} & rule.keys()) != 1:
            raise Refused(f"{self.wanted}; number {number} is not such a rule")
        kinds: dict[str, Kind] = {"pattern": Pattern(), "set": Text(), **self.settings}
        made: dict[str, Any] = {}
        for name, value in rule.items():
            if name not in kinds:
                raise Refused(
                    f"{self.wanted}; number {number} has {name!r}, which is not a setting"
                )
            # A rule with bits=None leaves its matches unquantised.
            try:
                unset = name == "bits" and value is None
                made[name] = None if unset else kinds[name].accept(value)
            except Refused as error:
                raise Refused(
                    f"{self.wanted}; in number {number} {name!r} must be {error}"
                ) from error
        return made


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _hint(value: object, names: Sequence[str]) -> str:
    hint = nearest(value, names) if isinstance(value, str) else ""
    return f"; {hint}" if hint.startswith("did you mean") else ""
