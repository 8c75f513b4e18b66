"""Values out of a pickle without unpickling: opcodes are read, nothing they name is imported or called.

A state dict needs about thirty of pickle's opcodes. The rest, and every name that is not in the caller's table, are
refused. What comes out are numbers, texts, tuples, lists and dicts, and what the table's functions made of them.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any

PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
PUT, GET = {"BINPUT", "LONG_BINPUT"}, {"BINGET", "LONG_BINGET"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NO_MEANING = {"PROTO", "FRAME"}
MOST_OPCODES = 5_000_000  # seconds; a state dict has about forty for each array


def value(file: io.BytesIO, names: dict[str, Any], persistent: Callable[[tuple], Any]) -> Any:
    """The next pickle of `file`, which is left behind its end.

    Args:
        file: held in memory, so that no length it states can claim more than there is.
        names: `module.name` -> what stands for it. What is called in the pickle must be callable here.
        persistent: takes the tuple that names an object stored elsewhere.

    Raises:
        ValueError: damaged, or an opcode or a name that no state dict needs.
    """
    machine = _Machine(names, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if count == MOST_OPCODES:
                raise ValueError(f"a pickle of more than {MOST_OPCODES:,} opcodes")
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except (IndexError, KeyError) as error:
        raise ValueError(f"a damaged pickle ({error})") from error
    raise ValueError("a pickle without an end")


class _Machine:
    """The stack, the stacks below the open marks, and the memo."""

    def __init__(self, names: dict[str, Any], persistent: Callable[[tuple], Any]):
        self.names, self.persistent = names, persistent
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in PLAIN:
            stack.append(argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name in PUT:
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in GET:
            stack.append(self.memo[argument])
        elif name == "MARK":
            self.below.append(stack)
            self.stack = []
        elif name == "TUPLE":
            items = self._since_mark()
            self.stack.append(tuple(items))
        elif name in TUPLES:
            count = TUPLES[name]
            if len(stack) < count:
                raise ValueError("a damaged pickle (too few values)")
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "GLOBAL":
            self._name(argument.replace(" ", "."))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            self._name(f"{_of(str, module)}.{_of(str, last)}")
        elif name in CHANGES:
            CHANGES[name](self)
        elif name not in NO_MEANING:
            raise ValueError(f"the opcode {name}, which no state dict needs; nothing was executed")

    def _name(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"the name {name[:200]}, which no state dict needs; nothing was executed")
        self.stack.append(self.names[name])

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not callable(function):
            raise ValueError(f"a call of a {type(function).__name__}")
        self.stack.append(function(*_of(tuple, arguments)))

    def fetch(self) -> None:
        self.stack.append(self.persistent(_of(tuple, self.stack.pop())))

    def set_item(self) -> None:
        item, key = self.stack.pop(), self.stack.pop()
        self._set([key, item])

    def set_items(self) -> None:
        self._set(self._since_mark())

    def append(self) -> None:
        item = self.stack.pop()
        _of(list, self.stack[-1]).append(item)

    def extend(self) -> None:
        items = self._since_mark()
        _of(list, self.stack[-1]).extend(items)

    def build(self) -> None:
        """Attributes of a dict (a state dict has `_metadata`) are dropped."""
        self.stack.pop()
        _of(dict, self.stack[-1])

    def _set(self, items: list[Any]) -> None:
        if len(items) % 2:
            raise ValueError("a damaged pickle (a key without its value)")
        target = _of(dict, self.stack[-1])
        for key, item in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):  # a nested tuple may take for ever to hash
                raise ValueError(f"a dict's key is a {type(key).__name__}")
            target[key] = item


def _of(kind: type, found: Any) -> Any:
    if type(found) is not kind:
        raise ValueError(f"a damaged pickle (a {type(found).__name__} where a {kind.__name__} belongs)")
    return found


CHANGES: dict[str, Callable[[_Machine], None]] = {
    "REDUCE": _Machine.call,
    "BINPERSID": _Machine.fetch,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "BUILD": _Machine.build,
}
