"""A pickle machine that cannot run code: it moves plain values about and calls nothing but functions of its own.

Python's own unpickler imports what the file names and calls it. This one never imports, never looks up an attribute
and never calls anything that came out of the file: a global is a string that is looked up in a table of *stand-ins*
written for `ganinv`, and whatever is not in the table is refused. Operation codes are decoded by the standard
library's disassembler (`pickletools.genops`, Python documentation, "pickletools"), which executes nothing.

What the machine may build is bounded too: it works on a buffer (so that a length that the file claims can never
allocate more than the file has), keeps its memo in a dictionary (so that a huge index costs nothing) and stops after
a fixed number of operations, or of bytes and values that it has handed to stand-ins (which may copy them).
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NoReturn

from pipelines.weights.checkpoints.pickled import Built, DamagedPickle, RefusedPickle, StandIn, Symbol

MAX_OPERATIONS = 4_000_000  # a 1 GB checkpoint with optimiser states needs about 50,000
_WORK = 16 << 20  # handed to stand-ins, besides twice the file's bytes
_KEYS = (str, int, float, bool, bytes, type(None))


class _Mark:
    pass


_MARK = _Mark()


class PickleMachine:
    """Reads one pickle.

    Args:
        table: full name of a global -> the stand-in that REDUCE and NEWOBJ call with the file's arguments.
        persistent: called with a persistent id; None = such ids are refused.
    """

    def __init__(self, table: Mapping[str, StandIn], persistent: Callable[[Any], Any] | None = None) -> None:
        self._symbols = {name: Symbol(name, call) for name, call in table.items()}
        self._persistent = persistent
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._work = 0

    def load(self, stream: BinaryIO) -> Any:
        """The value of the pickle that begins at the stream's position; the stream is left behind its STOP.

        Args:
            stream: seekable and over a buffer (`io.BytesIO`, `mmap.mmap`), where reading past the end costs nothing.

        Raises:
            RefusedPickle: it names a global that is not in the table, or uses an operation that only code needs.
            DamagedPickle: cut short, malformed, or longer than `MAX_OPERATIONS`.
        """
        self._stack, self._memo = [], {}
        start = stream.tell()
        self._work = _WORK + 2 * (stream.seek(0, 2) or stream.tell())
        stream.seek(start)
        try:
            for count, (operation, argument, _) in enumerate(pickletools.genops(stream)):
                if operation.name == "STOP":
                    return self._pop()
                if count > MAX_OPERATIONS:
                    raise DamagedPickle(f"it takes more than {MAX_OPERATIONS} steps")
                self._step(operation.name, argument)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise DamagedPickle((str(error).strip() or type(error).__name__).splitlines()[0]) from None
        raise DamagedPickle("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _IGNORED:
            return
        if name in _CONSTANTS:
            self._stack.append(argument if name not in _FIXED else _FIXED[name]())
        elif name in _METHODS:
            _METHODS[name](self, argument)
        else:
            raise RefusedPickle(f"the operation {name}")

    # -- stack ---------------------------------------------------------------------------------------------------------

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise DamagedPickle("a mark where a value should be")
        return value

    def _to_mark(self) -> list[Any]:
        for at in range(len(self._stack) - 1, -1, -1):
            if self._stack[at] is _MARK:
                values = self._stack[at + 1 :]
                del self._stack[at:]
                return values
        raise DamagedPickle("a mark is missing")

    def _mark(self, _: Any) -> None:
        self._stack.append(_MARK)

    def _drop(self, _: Any) -> None:
        self._stack.pop()

    def _drop_to_mark(self, _: Any) -> None:
        self._to_mark()

    def _twice(self, _: Any) -> None:
        self._stack.append(self._stack[-1])

    def _put(self, argument: Any) -> None:
        self._memo[int(argument)] = self._stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, argument: Any) -> None:
        self._stack.append(self._memo[int(argument)])

    # -- containers ----------------------------------------------------------------------------------------------------

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._to_mark()))

    def _tuple_of(self, count: int) -> None:
        values = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(values)))

    def _list(self, _: Any) -> None:
        self._stack.append(self._to_mark())

    def _dict(self, _: Any) -> None:
        values = self._to_mark()
        self._stack.append({})
        self._set_items(values)

    def _frozen(self, _: Any) -> None:
        self._stack.append(frozenset(map(_key, self._to_mark())))

    def _append(self, _: Any) -> None:
        self._extend([self._pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list[Any]) -> None:
        if type(self._stack[-1]) is not list:
            raise RefusedPickle("appending to what is no list")
        self._stack[-1].extend(values)

    def _add_items(self, _: Any) -> None:
        values = self._to_mark()
        if type(self._stack[-1]) is not set:
            raise RefusedPickle("adding to what is no set")
        self._stack[-1].update(map(_key, values))

    def _set_item(self, _: Any) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _set_items_to_mark(self, _: Any) -> None:
        self._set_items(self._to_mark())

    def _set_items(self, values: list[Any]) -> None:
        if not isinstance(self._stack[-1], dict):
            raise RefusedPickle("setting items of what is no dictionary")
        for key, value in zip(values[::2], values[1::2], strict=True):
            self._stack[-1][_key(key)] = value

    # -- globals -------------------------------------------------------------------------------------------------------

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._symbol(module, name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise RefusedPickle("a global whose name is no text")
        self._stack.append(self._symbol(module, name))

    def _symbol(self, module: str, name: str) -> Symbol:
        # Joined by a character that no module name holds, "a" + "b.c" and "a.b" + "c" could not be told apart otherwise.
        symbol = self._symbols.get(f"{module}:{name}")
        if symbol is None:
            _refuse_global(module, name)
        return symbol

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Symbol) or type(arguments) is not tuple:
            raise RefusedPickle("calling what is no known function")
        self._spend(*arguments)
        self._stack.append(function.call(*arguments))

    def _spend(self, *values: Any) -> None:
        """Count what a stand-in may copy: one byte string named a million times must not become a million of them."""
        self._work -= sum(len(value) for value in values if isinstance(value, (bytes, str, list, tuple, dict)))
        if self._work < 0:
            raise DamagedPickle("it uses the same values over and over")

    def _build(self, _: Any) -> None:
        state = self._pop()
        target = self._stack[-1]
        if not isinstance(target, Built):
            raise RefusedPickle("setting the state of a plain value")
        self._spend(*state) if isinstance(state, tuple) else self._spend(state)
        target.build(state)

    def _persistent_id(self, _: Any) -> None:
        if self._persistent is None:
            raise RefusedPickle("a persistent id")
        self._stack.append(self._persistent(self._pop()))


def _key(value: Any) -> Any:
    """A dictionary key or set member; tuples are not accepted, whose hash can take for ever when nested."""
    if not isinstance(value, _KEYS):
        raise RefusedPickle("a dictionary key that is neither text nor number")
    return value


def _refuse_global(module: str, name: str) -> NoReturn:
    shown = f"{module}.{name}" if len(module) + len(name) < 120 else f"{module[:60]}...{name[:50]}"
    raise RefusedPickle(f"the global {shown}")


_IGNORED = frozenset({"PROTO", "FRAME"})
_FIXED: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_CONSTANTS = frozenset(_FIXED) | {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8",
}  # fmt: skip
_METHODS: dict[str, Callable[[PickleMachine, Any], None]] = {
    "MARK": PickleMachine._mark,
    "POP": PickleMachine._drop,
    "POP_MARK": PickleMachine._drop_to_mark,
    "DUP": PickleMachine._twice,
    "PUT": PickleMachine._put,
    "BINPUT": PickleMachine._put,
    "LONG_BINPUT": PickleMachine._put,
    "MEMOIZE": PickleMachine._memoize,
    "GET": PickleMachine._get,
    "BINGET": PickleMachine._get,
    "LONG_BINGET": PickleMachine._get,
    "TUPLE": PickleMachine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "LIST": PickleMachine._list,
    "DICT": PickleMachine._dict,
    "FROZENSET": PickleMachine._frozen,
    "APPEND": PickleMachine._append,
    "APPENDS": PickleMachine._appends,
    "ADDITEMS": PickleMachine._add_items,
    "SETITEM": PickleMachine._set_item,
    "SETITEMS": PickleMachine._set_items_to_mark,
    "GLOBAL": PickleMachine._global,
    "STACK_GLOBAL": PickleMachine._stack_global,
    "REDUCE": PickleMachine._reduce,
    "NEWOBJ": PickleMachine._reduce,
    "BUILD": PickleMachine._build,
    "BINPERSID": PickleMachine._persistent_id,
}
