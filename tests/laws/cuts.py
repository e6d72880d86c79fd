"""Features of a sequence that is cut into extends and keeps, another way in each example."""

import functools

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np

#: Steps in one extend, and how often it is called.
WINDOW, ROUNDS = 3, 9
NUM = 6
TOLERANCE = 2e-5


@functools.partial(jax.jit, static_argnums=0)
def in_cuts(network, params, x, garbage, factorization, kept, context):
    """One program for all cuts: of each example b and round r, `kept[b, r]` of the steps of a window happened.

    Returns t[B, R], the first step of the window; kept[B, R] as far as steps are left; features [B, R, k + 1, M, F] of
    the window and, from `step`, of the first step after what was kept.
    """
    variables, num_sites, num_steps = {"params": params}, factorization.num_sites, factorization.num_steps
    apply = functools.partial(network.apply, variables)

    def one(x, garbage, kept_R, context):
        x, garbage, context = jax.tree.map(lambda leaf: leaf[None], (x, garbage, context))

        def canvas_before(step):
            where = (jnp.asarray(factorization.step) < step)[:, None]
            return jnp.where(where, x.reshape(1, num_sites, -1), garbage.reshape(1, num_sites, -1)).reshape(x.shape)

        def one_round(state, n):
            carry, t = state
            n = jnp.minimum(n, num_steps - t)
            canvas = canvas_before(t + n)  # what was proposed for the steps that did not happen is wrong
            carries, window = apply(carry, canvas, t, WINDOW, factorization, context, method="extend")
            carry = apply(carries, n, method="keep")
            _, after = apply(carry, canvas, t + n, factorization, context, method="step")
            return (carry, t + n), (t, n, jnp.concatenate([window[0], after]))

        carry = apply(1, factorization, context, method="init_carry")
        return jax.lax.scan(one_round, (carry, jnp.int32(0)), kept_R)[1]

    return jax.vmap(one)(x, garbage, kept, context)


def check_cuts(model, params, context=None):
    """Every feature that a cut may use equals that of the parallel form; returns how often each step was compared."""
    event, factorization = model.event, model.factorization
    x, garbage = cases.random_x(event, cases.BATCH), cases.random_x(event, cases.BATCH, seed=1)
    expected = np.asarray(cases.parallel(model.network, params, x, factorization, context))[:NUM]
    kept = np.random.default_rng(3).integers(0, WINDOW + 1, (NUM, ROUNDS))
    kept[0], kept[1] = 1, WINDOW
    context = jax.tree.map(lambda part: part[:NUM], context)
    t, n, found = map(np.asarray, in_cuts(model.network, params, x[:NUM], garbage[:NUM], factorization, kept, context))
    assert np.isfinite(found).all()
    compared = np.zeros(factorization.num_steps, int)
    for b, r in np.ndindex(t.shape):
        places = [(i, t[b, r] + i) for i in range(min(n[b, r] + 1, WINDOW))] + [(WINDOW, t[b, r] + n[b, r])]
        for i, step in places:
            if step < factorization.num_steps:
                sites = np.asarray(factorization.blocks)[step]
                sites = sites[sites < factorization.num_sites]
                difference = np.abs(found[b, r, i, : len(sites)] - expected[b, sites]).max()
                assert difference <= TOLERANCE * np.abs(expected).max(), (b, r, i, step, difference)
                compared[step] += 1
    assert (compared > 0).all()
    return compared
