"""Faults of data whose distribution is known, and of the networks that are it."""

from __future__ import annotations

from fault import Fault, faults_of

_equations = "networks/test_markov_equations.py::"
_hidden = faults_of("networks/recurrent/hidden_markov.py", _equations + "test_hidden_markov")
_markov = faults_of("networks/dense/markov.py", _equations + "test_markov")
_known = "data/test_known.py::"

TRUTH_FAULTS = (
    _hidden(
        "a hidden Markov model whose transitions go backwards",
        "filtered_BK[..., None] + transitions_KK, axis",
        "filtered_BK[..., None] + transitions_KK.T, axis",
    ),
    _hidden(
        "a hidden Markov model that predicts its state and does not filter it",
        'joint_BK = predicted_BK + jnp.take(emissions_KV, value_B, axis=1, mode="clip").T',
        "joint_BK = predicted_BK",
    ),
    Fault(
        "a chain that hardly ever leaves some histories begins where the rounds of a power iteration end",
        "data/known.py",
        "p_H = _solved(rows_HV) if num <= MOST_SOLVED else p_H",
        "pass",
        (_known + "test_chains_that_hardly_ever_leave_a_history_begin_in_their_stationary_distribution",),
    ),
    _markov(
        "a Markov chain that reads its history newest value first",
        "levels ** (lag_n - 1)",
        "levels ** (self.order - lag_n)",
    ),
    Fault(
        "a chain that begins with values of equal probability",
        "data/known.py",
        "first = stationary(rows_HV).reshape",
        "first = np.full(levels**order, levels**-float(order)).reshape",
        (_known + "test_the_nats_of_a_chain_are_its_entropy",),
    ),
    Fault(
        "draws that begin in another state than the truth",
        "data/known.py",
        "choose(rng, np.broadcast_to(initial_K, (num, states)))",
        "rng.integers(states, size=num)",
        (_known + "test_the_nats_of_a_hidden_markov_model_are_its_entropy",),
    ),
    Fault(
        "splits that are drawn from a run with one key",
        "data/drawn.py",
        "jax.random.fold_in(jax.random.key(seed), i)",
        "jax.random.key(seed)",
        ("data/test_drawn.py::test_draws_follow_the_model_and_do_not_depend_on_their_number",),
    ),
    Fault(
        "strings that are drawn from a run, and whose padding counts",
        "data/drawn.py",
        "mask=None if truth.end is None else up_to_end(x, truth.end)",
        "mask=None",
        ("data/test_drawn.py::test_strings_are_drawn_and_scored_up_to_their_ends",),
    ),
    Fault(
        "strings that are drawn in an order in which their probability is not known",
        "data/drawn.py",
        "if end is not None and not model.in_sequence:",
        "if end is not None and end < 0:",
        ("data/test_drawn.py::test_what_is_no_truth_is_refused",),
    ),
    Fault(
        "errors behind the end of a string",
        "evaluation/exposure.py",
        "kls if truth.end is None else jnp.where(up_to_end(x, truth.end), kls, 0.0)",
        "kls",
        ("evaluation/test_exposure.py::test_behind_the_end_of_a_string_there_are_no_errors",),
    ),
    Fault(
        "the error of an answer over sites that are not scored",
        "evaluation/likelihood.py",
        "jnp.where(counted_BD, by_site_BD, 0).sum(-1) / jnp.maximum(counted_BD.sum(-1), 1)",
        "by_site_BD.mean(-1)",
        ("data/test_memory_tasks.py::test_the_error_of_answers_is_that_of_the_modes",),
    ),
)
