"""Compiled programs that several trained models share: equal networks, configs and inputs, whatever their weights.

A service with many products, and a training of many, compile each network once.
"""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from mocca_jax import config as configs

MOST = 64  # programs that are kept
OF_THE_DATA = ("data_dir", "alpha")  # fields of a config that no program follows from

_kept: OrderedDict[Hashable, Callable] = OrderedDict()
_lock = threading.Lock()


def program(make: Callable[[], Callable], *follows_from: Any) -> Callable:
    """What `make` gives, made once for equal values of what it follows from; the last `MOST` are kept.

    It may hold on to nothing large: it is kept when those who asked for it are gone.
    """
    wanted = key(*follows_from)
    with _lock:
        if wanted not in _kept:
            _kept[wanted] = make()
        _kept.move_to_end(wanted)
        while len(_kept) > MOST:
            _kept.popitem(last=False)
        return _kept[wanted]


def key(*follows_from: Any) -> Hashable:
    """Equals that of equal values: configs but for where the data is and what is promised, networks, plain values."""
    return _plain(follows_from)


def _plain(value: Any) -> Hashable:
    """The value as something that equals that of an equal value."""
    if isinstance(value, ConfigDict):
        fields = configs.as_dict(value)
        return _plain({name: held for name, held in fields.items() if name not in OF_THE_DATA})
    if isinstance(value, nn.Module):
        fields = (name for name in value.__dataclass_fields__ if name not in ("parent", "name"))
        return type(value), tuple((name, _plain(getattr(value, name))) for name in fields)
    if isinstance(value, functools.partial):
        return _plain((value.func, value.args, value.keywords))
    if callable(getattr(value, "__func__", None)):  # a bound method
        return _plain((value.__func__, value.__self__))
    if isinstance(value, dict):
        return tuple(sorted((name, _plain(held)) for name, held in value.items()))
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value
