"""What a pickle of `torch.save` describes, told from its opcodes; nothing in it is executed.

A pickle is a program, and even a loader that only calls what is safe allocates what the program
asks for. So it is run here with stand-ins: names, calls, and the storages of tensors by their
sizes. What is then loaded is known to be one tensor, and how large it is.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

# Bytes of one value of a storage class, e.g. torch.FloatStorage; and of a dtype.
_ITEM_SIZES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "Untyped", "QUInt8", "QInt8"), 1),
    **dict.fromkeys(("QUInt4x2", "QUInt2x4"), 1),
    **dict.fromkeys(("Short", "Half", "BFloat16"), 2),
    **dict.fromkeys(("Int", "Float", "QInt32"), 4),
    **dict.fromkeys(("Long", "Double", "ComplexFloat"), 8),
    "ComplexDouble": 16,
}
_DTYPE_SIZES = {"uint16": 2, "uint32": 4, "uint64": 8, "complex32": 4}
_PLAIN = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}
_PARAMETER = {"torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"}
_WITH_TYPE = "torch._tensor._rebuild_from_type_v2"
_TENSOR_TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter"}
# Tensors that are not plain ones, by what rebuilds them.
_ODD = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantized tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without values (of device meta)",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device",
}
# Calls that give plain data, and what people call it.
_DATA = {
    "collections.OrderedDict": "an OrderedDict",
    "collections.Counter": "a Counter",
    "torch.Size": "a Size",
    "torch.device": "a device",
    "torch.serialization._get_layout": "a layout",
    "_codecs.encode": "a bytes",
    "builtins.set": "a set",
    "__builtin__.set": "a set",
    "builtins.complex": "a complex",
    "__builtin__.complex": "a complex",
    "builtins.bytearray": "a bytearray",
    "__builtin__.bytearray": "a bytearray",
}


class UnreadablePickleError(Exception):
    """A pickle that cannot be followed: damaged, or of opcodes that torch.save does not write."""


class Name(NamedTuple):
    """A class or function that a pickle names."""

    text: str


class Call(NamedTuple):
    """What a pickle makes by calling something."""

    function: str
    arguments: tuple[Any, ...]


class Storage(NamedTuple):
    """The values of a tensor, which stand outside of the pickle."""

    key: str
    nbytes: int
    item_size: int


class _Container:
    """A list, dict or set, of which only the kind matters, and what a dict holds by name."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, Any] = {}

    def __contains__(self, key: object) -> bool:
        return key in self.entries

    def __getitem__(self, key: str) -> Any:
        return self.entries[key]

    def put(self, items: list[Any]) -> None:
        """Take up keys and values, in turn."""
        pairs = zip(items[::2], items[1::2], strict=False)
        self.entries.update({key: value for key, value in pairs if isinstance(key, str)})


@dataclass(frozen=True)
class Pickle:
    """What a pickle describes.

    Attributes
    ----------
    value
        What it makes, with stand-ins for what is not plain data.
    protocol
        Its pickle protocol.
    calls
        The functions that it calls, or classes that it makes objects of.
    names
        All names in it.
    storages
        The storages that it uses, by key.
    sets_state
        Whether it sets the state of some object.
    """

    value: Any
    protocol: int
    calls: frozenset[str]
    names: frozenset[str]
    storages: dict[str, Storage]
    sets_state: bool


class Tensor(NamedTuple):
    """A plain tensor that a pickle describes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    item_size: int


def keys_of(pickle: Pickle) -> list[str]:
    """Return the names in the dict that a pickle is; none when it is anything else."""
    return list(pickle.value.entries) if isinstance(pickle.value, _Container) else []


def entry_at(pickle: Pickle, key: str) -> Any:
    """Return what a pickle holds at a key, None where it holds nothing there; see `at_key`."""
    return at_key(pickle.value, key, _Container)


def at_key(value: Any, key: str, mapping: type) -> Any:
    """Return what a mapping holds at a key, or at a path of keys: `name`, `group/name`.

    Parameters
    ----------
    value
        The mapping.
    key
        The key; one that is in the mapping itself goes before a path.
    mapping
        The type of what has keys; others hold nothing.
    """
    if not isinstance(value, mapping):
        return None
    entries: Any = value
    if key in entries:
        return entries[key]
    first, _, rest = key.partition("/")
    return at_key(entries[first], rest, mapping) if rest and first in entries else None


def tensor_of(pickle: Pickle, key: str | None = None) -> Tensor | None:
    """Return the plain tensor that a pickle is, or holds at a key; None when there is none."""
    value = pickle.value if key is None else entry_at(pickle, key)
    if isinstance(value, Call) and value.function == _WITH_TYPE:
        function, kind, arguments, *_ = (*value.arguments, None, None, None)
        if (
            isinstance(function, Name)
            and isinstance(kind, Name)
            and kind.text in _TENSOR_TYPES
            and isinstance(arguments, tuple)
        ):
            value = Call(function.text, arguments)
    if isinstance(value, Call) and value.function in _PARAMETER and value.arguments:
        value = value.arguments[0]
    if not isinstance(value, Call) or value.function not in _PLAIN or len(value.arguments) < 4:
        return None
    storage, offset, shape, strides, *more = value.arguments
    are_counts = isinstance(shape, tuple) and isinstance(strides, tuple)
    if not (isinstance(storage, Storage) and isinstance(offset, int) and are_counts):
        return None
    if not all(type(count) is int for count in (*shape, *strides)):
        return None
    item_size = storage.item_size
    if value.function.endswith("_v3") and len(more) > 2 and isinstance(more[2], Name):
        item_size = _DTYPE_SIZES.get(more[2].text.removeprefix("torch."), 1)
    return Tensor(storage, offset, shape, strides, item_size)


def calls_only_tensors(pickle: Pickle) -> bool:
    """Whether a pickle calls nothing but what rebuilds a plain tensor."""
    safe = {*_PLAIN, *_PARAMETER, _WITH_TYPE, "collections.OrderedDict"}
    return pickle.calls <= safe and not pickle.sets_state


def kind_of(pickle: Pickle) -> str:
    """Return what a pickle holds that is no plain tensor, as people call it, e.g. `a dict`."""
    value = pickle.value
    if isinstance(value, Call):
        odd = _ODD.get(value.function) or _DATA.get(value.function)
        is_tensor = value.function in _PLAIN
        return odd or ("a tensor" if is_tensor else f"a {value.function}")
    if isinstance(value, Name):
        return "a dtype" if value.text.startswith("torch.") else f"a {value.text}"
    kind = value.kind if isinstance(value, _Container) else type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def foreign_name(pickle: Pickle) -> str | None:
    """Return a name in a pickle that is no part of tensors and plain data; it could run code."""
    known = {*_PLAIN, *_PARAMETER, _WITH_TYPE, *_TENSOR_TYPES, *_ODD, *_DATA}
    for text in sorted(pickle.names):
        module, _, name = text.rpartition(".")
        is_storage = module in ("torch", "torch.storage", "torch.cuda") and "Storage" in name
        is_dtype = module == "torch" and name.islower() and name.rpartition(".")[2] != "load"
        if text not in known and not is_storage and not is_dtype:
            return text
    return None


class Source(Protocol):
    """What a pickle can be read from."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes."""

    def readline(self) -> bytes:
        """Read a line."""


def read_pickle(stream: Source) -> Pickle:
    """Follow a pickle from where a stream is to its end, without executing anything in it.

    Raises
    ------
    UnreadablePickleError
        When it cannot be followed.
    """
    try:
        return _Machine().run(pickletools.genops(stream))  # type: ignore[arg-type] # it only reads
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a hostile pickle can lead to any
        raise UnreadablePickleError(type(error).__name__) from None


_MARK = object()
_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict", "EMPTY_SET": "set"}
_FROM_MARK = {"LIST": "list", "DICT": "dict", "FROZENSET": "frozenset"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ARGUMENTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


class _Machine:
    """The pickle machine, with stand-ins for all that is not plain data."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.protocol = 0
        self.calls: set[str] = set()
        self.names: set[str] = set()
        self.storages: dict[str, Storage] = {}
        self.sets_state = False

    def run(self, opcodes: Iterator[tuple[Any, Any, Any]]) -> Pickle:
        for opcode, argument, _ in opcodes:
            self._step(opcode.name, argument)
        (value,) = self.stack
        return Pickle(
            value,
            self.protocol,
            frozenset(self.calls),
            frozenset(self.names),
            self.storages,
            self.sets_state,
        )

    def _step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _ARGUMENTS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_Container(_EMPTY[name]))
        elif name in _FROM_MARK:
            items = self._since_mark()
            stack.append(_Container(_FROM_MARK[name]))
            if name == "DICT":
                self._set(items)
        elif name in _TUPLES:
            taken = tuple(stack[-_TUPLES[name] :])
            if len(taken) != _TUPLES[name]:
                raise IndexError(name)
            del stack[-_TUPLES[name] :]
            stack.append(taken)
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "SETITEMS":
            self._set(self._since_mark())
        elif name in ("APPENDS", "ADDITEMS", "POP_MARK"):
            self._since_mark()
        elif name in ("APPEND", "POP"):
            stack.pop()
        elif name == "SETITEM":
            items = stack[-2:]
            del stack[-2:]
            self._set(items)
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name == "PROTO":
            self.protocol = argument
        elif name not in ("STOP", "FRAME"):
            self._make(name, argument)

    def _make(self, name: str, argument: Any) -> None:
        """Do what names, calls or stores something that is not plain data."""
        stack = self.stack
        if name == "GLOBAL":
            stack.append(self._name(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            stack.append(self._name(module, last))
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._call(function, arguments))
        elif name == "NEWOBJ_EX":
            _, arguments, function = stack.pop(), stack.pop(), stack.pop()
            stack.append(self._call(function, arguments))
        elif name == "INST":
            arguments = tuple(self._since_mark())
            stack.append(self._call(self._name(*argument.split(" ", 1)), arguments))
        elif name == "OBJ":
            function, *arguments = self._since_mark()
            stack.append(self._call(function, tuple(arguments)))
        elif name == "BUILD":
            stack.pop()
            self.sets_state = True
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        else:
            raise ValueError(name)

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise IndexError("mark")
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def _set(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], _Container):
            self.stack[-1].put(items)

    def _name(self, module: str, name: str) -> Name:
        text = f"{module}.{name}"
        self.names.add(text)
        return Name(text)

    def _call(self, function: Any, arguments: Any) -> Call | _Container:
        if not isinstance(arguments, tuple):
            raise TypeError("call")
        call = Call(function.text if isinstance(function, Name) else "what it made", arguments)
        # With arguments, it could be asked for any amount of memory.
        is_empty = call.function == "collections.OrderedDict" and not arguments
        self.calls.add(call.function if is_empty or call.function not in _DATA else "data")
        return _Container("OrderedDict") if is_empty else call

    def _storage(self, identity: Any) -> Storage:
        kind, storage_class, key, _, count, *_ = identity
        if kind != "storage" or not isinstance(storage_class, Name):
            raise ValueError(kind)
        name = storage_class.text.rpartition(".")[2].removesuffix("Storage")
        storage = Storage(str(key), int(count) * _ITEM_SIZES[name], _ITEM_SIZES[name])
        if storage.nbytes < 0 or self.storages.setdefault(storage.key, storage) != storage:
            raise ValueError("storage")
        return storage
