"""Which parameters a rule of `Plan.replace` names: by glob, by role, by a predicate of the site."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import TypeAlias, final, get_args

from fanin._errors import FaninError, nearest
from fanin._plan._entry import Entry
from fanin._site import Site, SiteRole
from fanin.initializers import InitializerLike, as_initializer
from fanin.recipes import Choice, Keep

__all__ = ["RuleKey", "RuleValue", "replaced"]

RuleKey: TypeAlias = str | Callable[[Site], object]
"""A glob on names, ``"role:..."``, or a predicate of a `Site`."""
RuleValue: TypeAlias = InitializerLike | Choice | Keep

_ROLE = "role:"
_WILD = re.compile(r"[*?\[]")


def replaced(entries: Sequence[Entry], rules: Mapping[RuleKey, RuleValue]) -> tuple[Entry, ...]:
    """``entries`` with the decisions of ``rules``, the first key that matches an entry winning."""
    if not isinstance(rules, Mapping):
        raise FaninError(
            "rules are a mapping from what they match to a start",
            where="plan.replace",
            found=repr(rules)[:80],
            fix='plan.replace({"*.down.weight": Zeros})',
        )
    parsed = [_Rule.of(key, value, entries) for key, value in rules.items()]
    used: set[str] = set()
    matched: set[str] = set()
    result = []
    for entry in entries:
        found = [(rule, rule.names_in(entry)) for rule in parsed]
        hits = [(rule, names) for rule, names in found if names]
        matched.update(rule.text for rule, _ in hits)
        if not hits:
            result.append(entry)
            continue
        _refuse_conflict(hits)
        winner = hits[0][0]
        # Who names both names of a tied tensor, to be sure, has said nothing wrong.
        used.update(rule.text for rule, _ in hits if rule.effect == winner.effect)
        result.append(_decided_by(winner, entry))
    for rule in parsed:
        if rule.text not in used:
            raise _useless(rule, entries, taken=rule.text in matched)
    return tuple(result)


@final
@dataclass(frozen=True, slots=True)
class _Rule:
    """One key and its decision, ready to be asked."""

    key: RuleKey
    text: str
    decision: Choice | Keep
    pattern: re.Pattern[str] | None

    @classmethod
    def of(cls, key: RuleKey, value: RuleValue, entries: Sequence[Entry]) -> "_Rule":
        text = _text(key)
        decision = _as_decision(text, value)
        if isinstance(key, str) and key.startswith(_ROLE):
            _require_role(key, entries)
            return cls(key, text, decision, None)
        pattern = re.compile(translate(key)) if isinstance(key, str) else None
        return cls(key, text, decision, pattern)

    @property
    def effect(self) -> object:
        """What it does to a weight, whatever the reason."""
        if isinstance(self.decision, Keep):
            return Keep
        return self.decision.initializer, self.decision.target_std

    def names_in(self, entry: Entry) -> tuple[str, ...]:
        """The names by which this rule means the entry; empty where it does not."""
        if callable(self.key):
            return entry.names if _is_true(self.key, self.text, entry.site) else ()
        if self.pattern is None:
            return entry.names if entry.site.role == self.key.removeprefix(_ROLE) else ()
        # What a parametrized weight is made of is one thing with it, but named only if it is not.
        return self._among(entry, entry.names) or self._among(entry, entry.site.stored)

    def _among(self, entry: Entry, names: Sequence[str]) -> tuple[str, ...]:
        exact = tuple(name for name in names if name == self.key)
        # "*" means weights: a buffer is named in full.
        if exact or entry.site.role == "buffer" or self.pattern is None:
            return exact
        return tuple(name for name in names if self.pattern.match(name))


def _is_true(predicate: Callable[[Site], object], text: str, site: Site) -> bool:
    # Whatever a user's function raises, or the truth of what it returns.
    try:
        return bool(predicate(site))
    except Exception as error:
        raise FaninError(
            "the predicate of a rule failed",
            where=f"plan.replace, {text}, for {site.name}",
            found=f"{type(error).__name__}: {error}".splitlines()[0][:200],
            fix="a predicate takes every Site of the plan, also one whose layout or residual is "
            "None, and returns true or false",
        ) from error


def _text(key: RuleKey) -> str:
    if isinstance(key, str):
        return key
    if callable(key):
        return f"a predicate, {getattr(key, '__qualname__', type(key).__name__)}"
    raise FaninError(
        "this names no parameters",
        where="plan.replace",
        found=repr(key)[:80],
        fix='give a glob ("*.head.weight"), "role:embedding", or a predicate of a Site',
    )


def _as_decision(text: str, value: RuleValue) -> Choice | Keep:
    if isinstance(value, (Choice, Keep)):
        return value
    try:
        return Choice(as_initializer(value), f"The rule {text!r} says so.")
    except FaninError as error:
        where = f"plan.replace({{{text!r}: ...}})"
        raise FaninError(error.what, where=where, found=error.found, fix=error.fix) from None


def _decided_by(rule: _Rule, entry: Entry) -> Entry:
    changed = replace(
        entry, decision=rule.decision, by="rule", rule=rule.text, factor=None, measured=None
    )
    changed.check()
    return changed


def _refuse_conflict(hits: Sequence[tuple[_Rule, tuple[str, ...]]]) -> None:
    """A tensor of two names has one start: rules that name it apart must agree.

    A later rule that names it by all the names an earlier one used (a catch-all) has just lost.
    """
    first, names = hits[0]
    for other, its_names in hits[1:]:
        if set(names).isdisjoint(its_names) and other.effect != first.effect:
            raise FaninError(
                "tied conflict: the rules disagree about one tensor",
                where=f"{names[0]} and {its_names[0]} are one tensor",
                found=f"{first.text!r}: {_shown(first)}, {other.text!r}: {_shown(other)}",
                fix="give both the same start, or leave one of the rules out",
            )


def _shown(rule: _Rule) -> str:
    decision = rule.decision
    return repr(decision.initializer if isinstance(decision, Choice) else decision)


def _require_role(key: str, entries: Sequence[Entry]) -> None:
    role, roles = key.removeprefix(_ROLE), get_args(SiteRole)
    if role not in roles:
        raise FaninError(
            "there is no such role",
            where="plan.replace",
            found=repr(key),
            fix=f"use one of: {nearest(role, roles)}; this model has {_roles_of(entries)}",
        )


def _roles_of(entries: Sequence[Entry]) -> str:
    return ", ".join(dict.fromkeys(entry.site.role for entry in entries))


def _useless(rule: _Rule, entries: Sequence[Entry], *, taken: bool) -> FaninError:
    where = f"plan.replace, {rule.text!r}"
    if taken:
        return FaninError(
            "the rule has nothing left to match",
            where=where,
            found="earlier rules match all that it matches",
            fix="put it before them: the first rule that matches wins",
        )
    return FaninError(
        "the rule matches nothing",
        where=where,
        found=_near_miss(rule, entries) or f"none of {len(entries)} parameters and buffers",
        fix=f"use one of: {_alternatives(rule, entries)}",
    )


def _near_miss(rule: _Rule, entries: Sequence[Entry]) -> str:
    for entry in entries:
        if any(rule.key == f"{_ROLE}{role}" for role in entry.site.other_roles):
            return f"{entry.name} has this role too, but it is {entry.site.role} first: name it"
        if rule.pattern is not None and rule.pattern.match(entry.name):
            return f"{entry.name} is a buffer, and a buffer must be named in full"
    return ""


def _alternatives(rule: _Rule, entries: Sequence[Entry]) -> str:
    if not isinstance(rule.key, str):
        return "a predicate that is true for some Site of the plan"
    if rule.pattern is None:
        return f"the roles of this model: {_roles_of(entries)}"
    return nearest(rule.key, {_shaped(name, rule.key) for entry in entries for name in entry.names})


def _shaped(name: str, key: str) -> str:
    """A name as a rule like ``key`` would write it, so that the two can be compared."""
    if not _WILD.search(key):
        return name
    if key.startswith("*."):
        parts = name.split(".")
        return ".".join(["*", *parts[-key.count(".") :]])
    return re.sub(r"\d+", "*", name)
