"""Methods as one compiled program each: operation by operation, each operation would be compiled for itself."""

import functools

import jax


@functools.partial(jax.jit, static_argnames=("method", "train"))
def of_model(model, method: str, *args, **options):
    """A method of a model. Models of one architecture share the program, whatever their orders."""
    return getattr(model, method)(*args, **options)


@functools.partial(jax.jit, static_argnums=(0, 1))
def of_family(family, method: str, *args):
    """A method of a conditional, which is compared by its fields."""
    return getattr(family, method)(*args)
