"""Faults of quantizers, and of tokenizers with a prior."""

from __future__ import annotations

from fault import Fault, faults_of

EQUATIONS = "quantizers/test_quantizer_equations.py::"
LAWS = "quantizers/test_laws_of_quantizers.py::"
MODEL = "models/test_tokens.py::"
RUNS = "training/test_token_runs.py::"

_fsq = faults_of("quantizers/fsq.py", EQUATIONS + "test_fsq_is_a_bound_a_rounding_and_a_mixed_base")
_vq = faults_of("quantizers/vq.py", EQUATIONS + "test_codes_of_vq_are_moving_averages_of_their_vectors")
_lfq = faults_of("quantizers/lfq.py", EQUATIONS + "test_lfq_has_the_entropies_of_all_its_codes")
_residual = faults_of("quantizers/residual.py", EQUATIONS + "test_residual_scales_are_algorithm_1_of_var")
_model = faults_of("models/tokens.py", MODEL + "test_the_terms_are_those_of_its_equations")
_objective = faults_of("objectives/tokens.py", RUNS + "test_a_tokenizer_with_a_codebook_resumes_bit_for_bit")
_step = faults_of(
    "training/step.py", RUNS + "test_members_of_a_population_write_their_parameters_after_a_step_as_runs_do"
)
_summaries = faults_of(
    "evaluation/summaries.py", RUNS + "test_the_report_has_rate_distortion_and_the_use_of_the_codes_of_the_split"
)

_importance = faults_of(
    "models/tokens.py", MODEL + "test_the_importance_bound_lies_between_the_score_and_the_sum_over_all_tokens"
)

TOKEN_FAULTS = (
    _importance(
        "importance weights that multiply by the posterior",
        "joint(numbers_BT) - log_q_B",
        "joint(numbers_BT) + log_q_B",
    ),
    _importance(
        "a posterior of the codes farthest from the vector",
        "top_k(-model.quantizer.distances",
        "top_k(model.quantizer.distances",
    ),
    _fsq(
        "a bound of FSQ without the half offset of even levels",
        "np.where(self._levels % 2, 0.0, 0.5)\n        shift",
        "np.where(self._levels % 2, 0.0, 0.0)\n        shift",
    ),
    _fsq(
        "digits in the wrong base",
        "np.cumprod([1, *self.levels[:-1]])",
        "np.cumprod([1, *self.levels[1:]])",
    ),
    _vq(
        "hits of a code that forget at the rate at which they should remember",
        'self.decay * state[n] + (1 - self.decay) * state[f"step_{n}"]',
        '(1 - self.decay) * state[n] + self.decay * state[f"step_{n}"]',
    ),
    _vq(
        "vectors compared with codes by their products alone",
        "(codebook_KE**2).sum(-1) - 2 * products",
        "0 * (codebook_KE**2).sum(-1) - 2 * products",
    ),
    _vq(
        "dead codes that stay dead",
        "dead_K = hits_K < least",
        "dead_K = hits_K < -least",
        EQUATIONS + "test_dead_codes_begin_again_at_vectors_of_the_step",
    ),
    _vq(
        "statistics of a step that are those of its last micro-batch",
        'state["step_hits"] + one_NK.sum(0)',
        "one_NK.sum(0)",
        RUNS + "test_micro_batches_move_the_codes_as_the_whole_batch_does",
        slow=True,
    ),
    _lfq(
        "an entropy loss that pushes all vectors to one code",
        "weighted_mean(of_one_BT, weight_B) - of_mean",
        "weighted_mean(of_one_BT, weight_B) + of_mean",
    ),
    _residual(
        "scales that all quantize the same vectors",
        "rest = jax.lax.stop_gradient(rest - added)",
        "rest = jax.lax.stop_gradient(rest)",
    ),
    _model(
        "a rate that is not counted",
        "Score(-rate - distortion, self.kind",
        "Score(-distortion, self.kind",
    ),
    _model(
        "a decoder that sees the vectors in place of their codes",
        'return Encoded(h, numbers, self.quantizer.passed(params["quantizer"], h, codes))',
        "return Encoded(h, numbers, h)",
    ),
    _model(
        "a sum over tokens without their prior",
        "return log_z + model.log_likelihood",
        "return 0 * log_z + model.log_likelihood",
        MODEL + "test_the_sum_over_all_tokens_holds_the_bound_to_account",
    ),
    Fault(
        "samplers of tokens that read the data",
        "models/base.py",
        "return self.sampled_batch(params, resources.examples(split, num))",
        "return resources.examples(split, num)",
        (MODEL + "test_samplers_read_the_tokens_of_the_examples",),
    ),
    _model(
        "tokens that count where their examples have masks",
        "return plain.replace(x=np.concatenate(found))",
        "return batch.replace(x=np.concatenate(found))",
        MODEL + "test_samplers_read_the_tokens_of_the_examples",
    ),
    _model(
        "a prior that accepts the tokens of any tokenizer",
        "if own.any() and not np.array_equal(own, np.asarray(fingerprint(params))):",
        "if own.any() and not np.array_equal(own, own):",
        MODEL + "test_a_prior_refuses_another_tokenizer",
    ),
    _objective(
        "a tokenizer that weight decay moves while its prior is trained",
        'return ("encoder", "quantizer", "decoder", FINGERPRINT)',
        'return ("quantizer", "decoder", FINGERPRINT)',
        RUNS + "test_a_prior_of_its_own_run_leaves_the_tokenizer_to_the_bit",
    ),
    _objective(
        "a codebook whose statistics start anew in every step",
        'of_quantizer, state = model.quantizer.follow(params["quantizer"], state)',
        'of_quantizer, _ = model.quantizer.follow(params["quantizer"], state)',
        RUNS + "test_a_tokenizer_with_a_codebook_resumes_bit_for_bit",
        slow=True,
    ),
    _step(
        "parameters that an objective writes after a step, and that are lost",
        "    params, own_state = recipe.objective.after_step(",
        "    params, (_, own_state) = moved, recipe.objective.after_step(",
        slow=True,
    ),
    _summaries(
        "a perplexity of codes in bits",
        "float(np.exp(-(frequency * np.log(frequency)).sum()))",
        "float(np.exp(-(frequency * np.log2(frequency)).sum()))",
    ),
)
