"""How a network is computed, whatever network it is: products in bfloat16, blocks computed again for the gradient.

Both act on the calls of the modules that the networks are made of. Parameters, statistics and all else stay float32.
"""

import contextlib

import flax.linen as nn
import jax
import jax.numpy as jnp

from mocca_jax.models import blocks, residual
from mocca_jax.models.ordering import after_each

PRODUCTS = (blocks.Conv, blocks.Dense, residual.Conv, residual.TransposedConv)
BLOCKS = (residual.Residual, residual.Downsample, residual.Upsample)


@contextlib.contextmanager
def computed(dtype: str, rematerialised: bool):
    """Modules called inside compute in these modes; `("float32", False)` changes nothing."""
    with contextlib.ExitStack() as stack:
        if rematerialised:
            stack.enter_context(nn.intercept_methods(_recompute))
        if dtype != "float32":
            stack.enter_context(nn.intercept_methods(_products_in(jnp.dtype(dtype))))
        yield


def _products_in(dtype):
    """Inputs of products in `dtype`, whose kernels follow; what comes out is float32 again."""

    def intercept(call, args, kwargs, context):
        if not (isinstance(context.module, PRODUCTS) and context.method_name == "__call__"):
            return call(*args, **kwargs)
        x, *rest = args
        return call(x.astype(dtype), *rest, **kwargs).astype(jnp.float32)

    return intercept


def _recompute(call, args, kwargs, context):
    """A block keeps its input alone and is computed again when its gradient is due."""
    module = context.module
    at_hand = isinstance(module, BLOCKS) and context.method_name == "__call__"
    if not at_hand or not module.path or module.is_initializing():
        return call(*args, **kwargs)
    x, mask, train = args
    alone = module.clone(parent=None, name=None)  # without a path: it is computed as it is

    def apply(x, variables, mask):
        return alone.apply(variables, x, mask, train, mutable=["batch_stats"])

    y, updated = recomputed(apply)(x, module.variables, mask)
    if module.is_mutable_collection("batch_stats"):
        for name, value in updated.get("batch_stats", {}).items():
            module.scope.put_variable("batch_stats", name, value)
    return y


def recomputed(f):
    """`f(x, *others) -> (y, statistics)` of arrays `x`, `y` `[B, ...]` that keeps its arguments alone for its gradient.

    As `jax.checkpoint`; the second computation waits for the gradient of `y`, see `ordering`.
    """
    wrapped = jax.custom_vjp(f)

    def backward(arguments, cotangents):
        x, *others = arguments
        return jax.vjp(f, after_each(cotangents[0], x), *others)[1](cotangents)

    wrapped.defvjp(lambda *arguments: (f(*arguments), arguments), backward)
    return wrapped
