"""Faults of chains and their denoisers."""

from __future__ import annotations

from fault import Fault, faults_of

GAUSSIAN = "models/test_gaussian_chain.py::"
DISCRETE = "models/test_discrete_chain.py::"
SCHEDULES = "models/test_noise_schedules.py::"
DENOISERS = "networks/test_denoisers.py::"
BLOCKS = "models/test_block_diffusion.py::"
PATHS = "models/test_paths.py::"
PICTURES = "reporting/test_chain_figures.py::"

_gaussian = faults_of("models/gaussian_chain.py", GAUSSIAN + "test_a_step_is_the_divergence_of_two_gaussians")
_schedules = faults_of("models/noise_schedules.py", GAUSSIAN + "test_ddim_with_eta_1_is_ancestral")
_chains = faults_of("models/chains.py", GAUSSIAN + "test_random_steps_estimate_the_whole_sum")
_discrete = faults_of("models/discrete_chain.py", DISCRETE + "test_the_bound_is_below_the_likelihood_over_all_paths")
_processes = faults_of("models/discrete_chain.py", DISCRETE + "test_the_reverse_table_is_bayes_rule")
_draws = faults_of("models/discrete_chain.py", DISCRETE + "test_the_bound_is_below_the_likelihood_over_all_paths")
_block = faults_of("models/block_diffusion.py", BLOCKS + "test_the_bound_is_below_the_likelihood_over_all_paths")
_block_draws = faults_of("models/block_diffusion.py", BLOCKS + "test_the_bound_is_below_the_likelihood_over_all_paths")
_block_network = faults_of(
    "networks/denoisers/block_transformer.py",
    BLOCKS + "test_noisy_blocks_read_themselves_and_earlier_clean_blocks_alone",
)

CHAIN_FAULTS = (
    _gaussian(
        "a Gaussian chain whose divergences are not weighted",
        "kl_B = 0.5 * jnp.expm1(gamma_B - before_B) * error_B",
        "kl_B = 0.5 * error_B",
    ),
    _gaussian(
        "a velocity whose error is not turned into one of the noise",
        "error = alpha * (alpha * noise - sigma * x_0 - said)",
        "error = alpha * noise - sigma * x_0 - said",
    ),
    _gaussian(
        "a velocity of the other sign",
        "return said, sigma * x_t + alpha * said, alpha * x_t - sigma * said",
        "return said, sigma * x_t - alpha * said, alpha * x_t + sigma * said",
    ),
    _gaussian(
        "a Gaussian chain whose prior forgets the data",
        "(1 - variance) * self.scaled(x) ** 2",
        "(1 - variance) * self.scaled(0 * x) ** 2",
        GAUSSIAN + "test_the_terms_of_the_bound",
    ),
    _gaussian(
        "a last conditional that is as wide as half its noise",
        "sigma = jnp.sqrt(jax.nn.sigmoid(self.gammas(params)[0]))",
        "sigma = jnp.sqrt(jax.nn.sigmoid(self.gammas(params)[0])) / 2",
        GAUSSIAN + "test_the_terms_of_the_bound",
    ),
    Fault(
        "bins of the outer levels that end",
        "models/gaussian_chain.py",
        "return jnp.where((level == 0) | (level == num_levels - 1), outer, inner)",
        "return jnp.where(level == num_levels, outer, inner)",
        (GAUSSIAN + "test_bins_are_those_of_a_normal_and_sum_to_one",),
    ),
    Fault(
        "levels that are predicted without the noisy value itself",
        "models/gaussian_chain.py",
        "jax.nn.softmax(logits + likelihood)",
        "jax.nn.softmax(logits + 0 * likelihood)",
        (GAUSSIAN + "test_levels_are_predicted_by_their_posterior",),
    ),
    Fault(
        "a Gaussian draw without the noise that was predicted",
        "models/gaussian_chain.py",
        "of_found * found + of_noise * noise + std",
        "of_found * found + 0 * of_noise * noise + std",
        (GAUSSIAN + "test_the_bound_of_a_chain_without_a_network_is_below_its_density",),
    ),
    _schedules(
        "draws with the variance of the noise in place of that of the posterior",
        "posterior_S = next_S[:-1] * -jnp.expm1(gamma_S[1:] - gamma_S[:-1])",
        "posterior_S = next_S[:-1]",
    ),
    _schedules(
        "a linear schedule of fewer steps that is cut off",
        "place = np.arange(1, num_steps + 1) * (1000 / num_steps)",
        "place = np.arange(1, num_steps + 1)",
        SCHEDULES + "test_linear_is_that_of_ho",
    ),
    _schedules(
        "a learned schedule that may fall",
        'hidden = jax.nn.sigmoid(rate * place_T1 + params["bias"])',
        'hidden = jax.nn.sigmoid(params["rate"] * place_T1 + params["bias"])',
        SCHEDULES + "test_learned_rises_between_its_end_points",
    ),
    _chains(
        "a random step that does not stand for all T",
        "(self.num_steps * terms.log_prob, t_N)",
        "(terms.log_prob, t_N)",
    ),
    _chains(
        "a whole sum that leaves out the second step",
        "(later + jnp.where(t > 1, log_prob_B, 0.0)",
        "(later + jnp.where(t > 2, log_prob_B, 0.0)",
    ),
    _discrete(
        "masked sites that are scored as if each step revealed them all",
        "return between.revealed * jnp.where(self.masked(x_t), log_p, 0.0).sum(-1)",
        "return jnp.where(self.masked(x_t), log_p, 0.0).sum(-1)",
    ),
    _discrete(
        "a chain that scores the sites that are revealed, too",
        "jnp.where(self.masked(x_t), log_p, 0.0)",
        "jnp.where(self.masked(x_t), log_p, log_p)",
        "models/test_discrete_chain_orders.py::test_one_site_per_step_is_the_order_agnostic_model",
    ),
    _discrete(
        "a uniform process that is scored by its prediction of x_0 in every step",
        "return jnp.where(is_first[..., 0], (true * table).sum(-1), -kl)",
        "return jnp.where(is_first[..., 0] | True, (true * table).sum(-1), -kl)",
    ),
    _processes(
        "a reverse step that does not divide by q(x_t | x_0)",
        "weight = p_0 / (between.kept_t * same + between.lost_t / num_levels)",
        "weight = p_0",
    ),
    _processes(
        "parts of a chain that are differences of numbers of float32",
        "kept_t, kept_s = kept[t], kept[s]",
        "kept_t, kept_s = jnp.float32(kept[t]), jnp.float32(kept[s])",
        DISCRETE + "test_chains_of_many_steps_have_finite_terms_and_gradients",
    ),
    _processes(
        "a uniform process that replaces values by others alone",
        "return jnp.where(jax.random.uniform(keep_key, x.shape) < kept, x, other)",
        "return jnp.where(jax.random.uniform(keep_key, x.shape) < kept, x, (x + 1 + other % 2) % num_levels)",
        DISCRETE + "test_the_marginals_are_the_closed_form_of_the_steps",
    ),
    _draws(
        "draws that reveal nine of ten masked sites in every step",
        "masked_D.shape) < between.revealed)",
        "masked_D.shape) < jnp.where(between.kept_s < 1, 0.9, 1.0))",
    ),
    _draws(
        "draws that change what is revealed",
        "return jnp.where(model.on_values(chosen_BD), values, x_t)",
        "return jnp.where(model.on_values(chosen_BD | ~model.masked(x_t)), values, x_t)",
    ),
    Fault(
        "an any-order denoiser that observes the masked sites",
        "networks/denoisers/any_order.py",
        "observed = ~is_mask.reshape",
        "observed = is_mask.reshape",
        (DENOISERS + "test_an_any_order_network_is_a_denoiser",),
    ),
    Fault(
        "a U-Net whose condition does not reach its blocks",
        "networks/denoisers/unet.py",
        "(h) * (1 + scale) + shift)",
        "(h) + 0 * (scale + shift))",
        (DENOISERS + "test_unet_is_its_definition",),
    ),
    Fault(
        "a U-Net that pads odd sizes with zeros",
        "networks/denoisers/unet.py",
        'mode="edge")',
        'mode="constant")',
        (DENOISERS + "test_unet_is_its_definition",),
    ),
    Fault(
        "a perceptron that ignores the local parts of a context",
        "networks/denoisers/adaptive_mlp.py",
        "encoder(t, context), self.context_spec.at_sites",
        "encoder(t, context), None",
        ("networks/test_local_context.py::test_denoisers_read_local_parts[adaptive_mlp]",),
    ),
    Fault(
        "a Transformer whose branches are not gated by the condition",
        "networks/denoisers/transformer.py",
        "return x if gate is None else x * (1 + gate)",
        "return x",
        (DENOISERS + "test_transformer_is_its_definition",),
    ),
    Fault(
        "a simple loss that is the bound",
        "objectives/denoising.py",
        'else {"simple": error_B}',
        'else {"simple": -score.log_prob}',
        ("objectives/test_denoising.py::test_both_losses_and_their_reports",),
    ),
    _block_network(
        "noisy blocks that read their own clean values",
        "earlier | (~noisy[:, None] & own))",
        "earlier | own)",
    ),
    _block_network(
        "noisy blocks that read other noisy blocks",
        "jnp.where(noisy, noisy[:, None] & own,",
        "jnp.where(noisy, noisy[:, None] & (own | earlier),",
    ),
    _block_network(
        "padding of a short block that reads the last site",
        "values = jnp.where((sites < self.event.num_sites)[..., None], values, self.event.num_levels)",
        "values = jnp.where((sites <= self.event.num_sites)[..., None], values, self.event.num_levels)",
    ),
    _block_network(
        "a cache of noisy blocks",
        'return self.through_layers(carry, h, t, method="step")[0]',
        'return self.through_layers(carry, 0 * h, t, method="step")[0]',
        BLOCKS + "test_the_cache_gives_the_features_of_the_parallel_pass",
    ),
    _block(
        "blocks that are scored as if each step revealed all masked sites",
        "return (left_BS - next_BS) / left_BS * by_block_BS",
        "return by_block_BS",
    ),
    _block(
        "blocks that score the sites that are revealed, too",
        "costs_BD = jnp.where(self.masked(x_t), log_p_BD, 0.0)",
        "costs_BD = log_p_BD",
    ),
    _block(
        "blocks with the same masks",
        "keys_S = jax.random.split(key, len(blocks_SM))",
        "keys_S = jnp.stack([key] * len(blocks_SM))",
        BLOCKS + "test_every_block_has_its_own_time_and_a_random_set_of_masks",
    ),
    _block(
        "blocks outside a mask that are scored",
        'mode="fill", fill_value=False).any(-1)',
        'mode="fill", fill_value=False).any()',
        BLOCKS + "test_blocks_with_a_site_of_a_mask_are_scored_whole",
    ),
    _block_draws(
        "draws of blocks that do not know the blocks before them",
        'return (call(cache, x, s, blocks, context, method="write"), x), path',
        'return (call(cache, 0 * x, s, blocks, context, method="write"), x), path',
    ),
    _block_draws(
        "draws that reveal a block at once",
        "revealed = counts_ST[s, t] - counts_ST[s, earlier]",
        "revealed = counts_ST[s, t] - 0 * counts_ST[s, earlier]",
    ),
    _chains(
        "an estimate that takes one block for all",
        "log_prob, 0.0).mean(0).sum(-1)",
        "log_prob, 0.0).mean(0).mean(-1)",
        BLOCKS + "test_the_bound_is_below_the_likelihood_over_all_paths",
    ),
    Fault(
        "a path that ends a round too early",
        "models/chains.py",
        "np.linspace(0, num_rounds, num_frames)",
        "np.linspace(0, num_rounds - 1, num_frames)",
        (PATHS + "test_the_last_frame_is_the_draw",),
    ),
    Fault(
        "masked sites that look like black ones",
        "reporting/chains.py",
        "images = np.where(masked.reshape(images.shape[:-1])[..., None], MASK_RGB, images)",
        "images = np.where(masked.reshape(images.shape[:-1])[..., None], 0.0, images)",
        (PICTURES + "test_a_run_of_images_has_both_pictures",),
    ),
    Fault(
        "a Gaussian chain that is trained without dropout",
        "models/gaussian_chain.py",
        "features = self.denoise(params, x_t, t_B, context, dropout)",
        "features = self.denoise(params, x_t, t_B, context)",
        ("models/test_dropout_of_parts.py::test_dropout_of_a_part_is_on_in_training_alone",),
    ),
    Fault(
        "a last term that tells a learned schedule nothing",
        "models/gaussian_chain.py",
        "sigma = jnp.sqrt(jax.nn.sigmoid(self.gammas(params)[0]))",
        "sigma = jnp.sqrt(jax.nn.sigmoid(jax.lax.stop_gradient(self.gammas(params)[0])))",
        ("models/test_gaussian_chain.py::test_the_gradient_of_a_learned_schedule_is_that_of_finite_differences",),
        slow=True,
    ),
    Fault(
        "one noise for all steps of an estimate",
        "models/chains.py",
        "keys_N = jax.vmap(lambda k: step_keys(keys_B, k))(jnp.arange(num)).reshape(size)",
        "keys_N = jax.vmap(lambda k: step_keys(keys_B, 0 * k))(jnp.arange(num)).reshape(size)",
        ("models/test_gaussian_chain.py::test_every_step_of_a_score_has_noise_of_its_own",),
        slow=True,
    ),
    Fault(
        "one noise for all steps of a bound",
        "models/chains.py",
        "log_prob_B = model.step_terms(params, x, t_B, step_keys(keys_B, t), context).log_prob",
        "log_prob_B = model.step_terms(params, x, t_B, keys_B, context).log_prob",
        ("models/test_gaussian_chain.py::test_every_step_of_a_score_has_noise_of_its_own",),
        slow=True,
    ),
    Fault(
        "a conditional of a chain of discrete values that is trained without dropout",
        "models/discrete_chain.py",
        "return bound(self.conditional, params, dropout is not None, dropout)",
        "return bound(self.conditional, params)",
        ("models/test_dropout_of_parts.py::test_dropout_of_a_part_is_on_in_training_alone",),
    ),
)
