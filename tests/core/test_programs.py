"""Programs, read before they are compiled."""

import jax
import jax.numpy as jnp

from arjax.core.programs import only_casts


def test_inputs_that_a_program_only_casts():
    @jax.jit
    def inner(x, y):
        return x.astype("bfloat16") + 1, y * 2

    def program(cast, kept, both, given_back, in_loop, in_while, in_branch):
        first, second = inner(cast, kept)
        total, _ = jax.lax.scan(lambda sum, _: (sum + in_loop.astype("bfloat16"), None), first, length=3)
        total = jax.lax.while_loop(lambda x: x[0] < 0, lambda x: x + in_while.astype("bfloat16"), total)
        total = jax.lax.cond(total[0] > 0, lambda: total, lambda: in_branch.astype("bfloat16"))
        return total, second, both.astype("bfloat16") + both, given_back

    jaxpr = jax.make_jaxpr(program)(*[jnp.zeros(3)] * 7).jaxpr
    assert only_casts(jaxpr, "bfloat16") == [True, False, False, False, True, True, True]
    assert not any(only_casts(jaxpr, "float16"))
