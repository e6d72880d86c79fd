"""Programs, read before they are compiled."""

import jax
import jax.numpy as jnp

from arjax.core.programs import only_casts


def test_inputs_that_a_program_only_casts():
    @jax.jit
    def inner(x, y):
        return x.astype("bfloat16") + 1, y * 2

    def program(cast, kept, both, given_back, in_loop):
        first, second = inner(cast, kept)
        total, _ = jax.lax.scan(lambda sum, _: (sum + in_loop.astype("bfloat16"), None), first, length=3)
        return total, second, both.astype("bfloat16") + both, given_back

    jaxpr = jax.make_jaxpr(program)(*[jnp.zeros(3)] * 5).jaxpr
    assert only_casts(jaxpr, "bfloat16") == [True, False, False, False, True]
    assert not any(only_casts(jaxpr, "float16"))
