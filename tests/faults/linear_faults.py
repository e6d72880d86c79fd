"""Faults of linear recurrences and of the mixers around them."""

from __future__ import annotations

from fault import Fault, faults_of

FOLDER = "networks/recurrent/linear/"
STATES = "networks/test_linear_states.py::"
FORMS = STATES + "test_all_forms_are_the_recurrence"
MIXERS = "networks/test_linear_mixers.py::"
EQUATIONS = MIXERS + "test_mixer_is_its_equations"
HYBRIDS = MIXERS + "test_hybrids_keep_the_laws[both kinds]"

_decays = faults_of(FOLDER + "matrix_states.py", FORMS + "[decays]")
_delta = faults_of(FOLDER + "delta_rule.py", FORMS + "[delta]")
_product = faults_of(FOLDER + "delta_rule.py", FORMS + "[delta product]")
_exponential = faults_of(FOLDER + "exponential.py", FORMS + "[exponential]")
_mamba2 = faults_of(FOLDER + "mamba2.py", EQUATIONS + "[mamba2]")
_carry = faults_of(FOLDER + "mixer.py", HYBRIDS)

LINEAR_FAULTS = (
    Fault(
        "options of a network with the fields of every Flax module",
        "networks/base.py",
        "    others = (*BUILDER_FIELDS, *FLAX_FIELDS)",
        "    others = BUILDER_FIELDS",
        ("models/test_checks.py::test_networks_check_other_factorizations_with_the_options_they_were_made_with",),
    ),
    _decays(
        "a state that is lost at the seam of two chunks", "return total * state + update, state", "return update, state"
    ),
    _decays(
        "keys that enter the state without the decays after them",
        "k * transposed(decay[..., -1:, :]), total",
        "k, total",
    ),
    _decays(
        "queries that read a state as it was before the decay of their own step",
        "start = decay[..., :1] * jnp.exp(log_decay[..., :1, None])",
        "start = decay[..., :1]",
    ),
    _decays(
        "sums of segments with the decay of their first step",
        "jnp.where(step[:, None] > step, x_C[..., None], 0)",
        "jnp.where(step[:, None] >= step, x_C[..., None], 0)",
        STATES + "test_sums_of_segments_lose_no_digits",
    ),
    _decays(
        "a chunk whose last decay is missing in its state, feature by feature",
        "transposed(start[..., -1:, :]))\n\n\ndef own",
        "transposed(start[..., -2:-1, :]))\n\n\ndef own",
        FORMS + "[decays of features]",
    ),
    _decays(
        "a state whose sign is that of a state of positive decays",
        "(after if last is None else after * last)",
        "after",
        FORMS + "[decays with signs]",
    ),
    _decays(
        "steps that are not kept, whose decays the state keeps",
        "decay = jnp.where(valid_T if decay.ndim == 3 else valid_T[:, None], decay, 0)",
        "decay = decay",
    ),
    _delta("a delta rule with the Gram matrix of queries and keys", "pairs(k, k, log_decay)", "pairs(q, k, log_decay)"),
    _delta(
        "a delta rule that adds what was stored for the key",
        "u = values - product(reads, state)",
        "u = values + product(reads, state)",
    ),
    _delta(
        "a step of the delta rule that forgets nothing",
        "(self.v - product(k, state))",
        "(self.v - 0 * product(k, state))",
    ),
    _delta(
        "a delta rule that stores the whole value",
        "beta[..., None] * own.scores, right)",
        "own.scores, right)",
    ),
    _delta(
        "steps that are not kept, whose keys the state forgets",
        "Delta(self.q, self.k, self.v, jnp.where(valid_T, self.beta, 0), decay)",
        "Delta(self.q, self.k, self.v, self.beta, decay)",
    ),
    _exponential(
        "exponential gates without their running maximum",
        "maximum = jax.lax.stop_gradient(jnp.maximum(held, new))",
        "maximum = 0 * held",
    ),
    _exponential(
        "a normaliser that is bounded by 1 whatever factor the state leaves out",
        "least = jnp.maximum(jnp.exp(-maximum), LEAST)[..., None]",
        "least = jnp.ones_like(maximum)[..., None]",
    ),
    _exponential(
        "a query of zeros that divides by zero where gates have grown",
        "jnp.maximum(jnp.exp(-maximum), LEAST)",
        "jnp.exp(-maximum)",
        STATES + "test_queries_of_zeros_find_nothing_where_gates_have_grown",
    ),
    _exponential(
        "an empty state that counts as one of gates of 1",
        "LOWEST = -1e10",
        "LOWEST = 0.0",
        STATES + "test_queries_of_zeros_find_nothing_where_gates_have_grown",
    ),
    _exponential(
        "a state of exponential gates that enters a chunk without its decays",
        "held = start + before.maximum[..., None]",
        "held = 0 * start + before.maximum[..., None]",
    ),
    Fault(
        "a diagonal recurrence that does not let its first state decay",
        FOLDER + "vector_states.py",
        "self.b.at[:, 0].add(self.a[:, 0] * state)",
        "self.b.at[:, 0].add(state)",
        (FORMS + "[diagonal]",),
    ),
    Fault(
        "gradients of a diagonal recurrence with the factors of one step before",
        FOLDER + "vector_states.py",
        "_run(after(a_BTR), g_BTR, reverse=True)",
        "_run(a_BTR, g_BTR, reverse=True)",
        (STATES + "test_gradients_of_a_diagonal_recurrence_are_those_of_its_loop",),
    ),
    Fault(
        "a diagonal recurrence of accelerators that does not run backwards",
        FOLDER + "vector_states.py",
        "(a_BTR, b_BTR), reverse=reverse, axis=1)",
        "(a_BTR, b_BTR), axis=1)",
        (STATES + "test_both_forms_of_a_diagonal_recurrence_run_both_ways[at_once]",),
    ),
    _carry(
        "a carry without the new inputs of its convolution",
        "return (queue, state), self.outputs(o, u, rest)",
        "return (cache[0], state), self.outputs(o, u, rest)",
    ),
    _carry(
        "a convolution that begins anew after a cut",
        "return put_in_ring(queue, new, t, n, axis=1), ",
        "return 0 * put_in_ring(queue, new, t, n, axis=1), ",
    ),
    _carry(
        "a window of steps that keeps them all",
        "valid_T = jnp.arange(new.shape[1]) < n",
        "valid_T = jnp.arange(new.shape[1]) < n + 1",
    ),
    _mamba2("mamba2 without the skip of its inputs", "o + self.skip[:, None, None] * self._split(u)[0]", "o"),
    _mamba2("mamba2 whose inputs are not scaled by the length of their step", "dt[..., None] * x", "x"),
    _mamba2(
        "mamba2 with decays between -1 and 0",
        "a = 2 * jnp.exp(-rate) - 1",
        "a = jnp.exp(-rate) - 1",
        EQUATIONS + "[mamba2, negative]",
    ),
    _decays(
        "a product of delta rules that is read after its first one",
        "seen[every - 1 :: every]",
        "seen[::every]",
        FORMS + "[delta product without decays]",
    ),
    _decays(
        "a product of delta rules with decays that is read after its first one",
        "decay[..., every - 1 :: every, :], start",
        "decay[..., ::every, :], start",
        FORMS + "[delta product]",
    ),
    _product(
        "a product of delta rules with a decay in each of them",
        "jnp.pad(decay[..., None], (*((0, 0),) * 3, (0, self.beta.shape[3] - 1)))",
        "jnp.repeat(decay[..., None], self.beta.shape[3], -1)",
    ),
    _product(
        "a step of a product of delta rules that leaves out one of them",
        "for j in range(self.beta.shape[3]):",
        "for j in range(self.beta.shape[3] - 1):",
    ),
    _product(
        "rules of steps that are not kept, of which the state keeps the later ones",
        "jnp.where(valid_T[:, None], self.beta, 0), log_decay=decay)",
        "self.beta.at[..., 0].multiply(valid_T), log_decay=decay)",
    ),
    Fault(
        "a delta network whose states never change their sign",
        FOLDER + "delta_net.py",
        "beta * (2 if self.negative_eigenvalues else 1)",
        "beta",
        (EQUATIONS + "[delta_net, negative]",),
    ),
    Fault(
        "gated linear attention that forgets sixteen times as fast",
        FOLDER + "gated_linear_attention.py",
        "nn.log_sigmoid(decay) / ROOT",
        "nn.log_sigmoid(decay)",
        (EQUATIONS + "[gated_linear_attention]",),
    ),
    Fault(
        "mlstm whose output gate is no sigmoid",
        FOLDER + "mlstm.py",
        "self.out(nn.sigmoid(self.output_gate(rest).astype(jnp.float32)) * self.by_step(self.norm(o)))",
        "self.out(nn.tanh(self.output_gate(rest).astype(jnp.float32)) * self.by_step(self.norm(o)))",
        (EQUATIONS + "[mlstm]",),
    ),
    Fault(
        "minGRU with its gate the wrong way round",
        FOLDER + "min_rnn.py",
        "Diagonal(nn.sigmoid(-z), nn.sigmoid(z) * g)",
        "Diagonal(nn.sigmoid(z), nn.sigmoid(-z) * g)",
        (EQUATIONS + "[min_gru]",),
    ),
    Fault(
        "minLSTM whose gates are not normalised",
        FOLDER + "min_rnn.py",
        "Diagonal(nn.sigmoid(-more), nn.sigmoid(more) * g)",
        "Diagonal(nn.sigmoid(f), nn.sigmoid(i) * g)",
        (EQUATIONS + "[min_lstm]",),
    ),
    Fault(
        "tokens that are exactly 0 at first where they are normalised",
        "networks/layers/steps.py",
        '"zero_scale": scale_of_zeros(self.event, self.input_size)',
        '"zero_scale": 0.0',
        ("networks/test_gradients.py::test_gradients_of_tokens_of_zeros_are_moderate[min_gru-binary]",),
    ),
    Fault(
        "an inverse whose blocks are joined without their sign",
        "core/triangular.py",
        "corner = -(second",
        "corner = (second",
        ("core/test_triangular.py::test_systems_with_ones_on_the_diagonal_are_solved",),
    ),
    Fault(
        "a triangular system whose right side is not divided by the diagonal",
        "core/triangular.py",
        "solve_unit_lower(a / diagonal, b / diagonal)",
        "solve_unit_lower(a / diagonal, b)",
        ("core/test_triangular.py::test_systems_of_any_diagonal_are_solved",),
    ),
)
