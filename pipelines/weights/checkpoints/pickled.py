"""What a pickle's values become where they are no plain ones: bases of the stand-ins, and what is wrong with a pickle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

StandIn = Callable[..., Any]


class RefusedPickle(Exception):
    """The pickle asks for more than plain values and tensors; a phrase that says for what."""


class DamagedPickle(Exception):
    """The bytes are no whole pickle; a phrase that says why."""


class Symbol:
    """A global of the table: its full name and the stand-in to call for it. Inert by itself."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: StandIn) -> None:
        self.name = name
        self.call = call


class Built:
    """Base of stand-ins that take a state (operation BUILD)."""

    def build(self, state: Any) -> None:
        """Take `state`; the default forgets it."""


class Bag(dict[Any, Any], Built):
    """Stands for dict subclasses whose attributes do not matter (OrderedDict, EasyDict, defaultdict)."""


class Attributes(dict[Any, Any], Built):
    """Stands for plain objects whose attributes are all there is (argparse.Namespace)."""

    def build(self, state: Any) -> None:
        """The attributes become items."""
        if isinstance(state, dict):
            self.update(state)
