"""Faults of networks."""

from __future__ import annotations

from fault import Fault, faults_of

EQUATIONS = "networks/test_network_equations.py::"
SEQUENCES = "networks/test_sequence_equations.py::"
LOCAL = "networks/test_local_context.py::"
OVER_STEPS = "networks/test_step_network_equations.py::"

_two_stream = faults_of("networks/any_order/two_stream.py", EQUATIONS + "test_two_stream")
_masked_transformer = faults_of("networks/any_order/masked_transformer.py", EQUATIONS + "test_masked_transformer")
_lmconv = faults_of("networks/image/lmconv.py", EQUATIONS + "test_lmconv")
_multiscale = faults_of(
    "networks/image/multiscale.py", "networks/test_pixel_rnn_equations.py::test_multiscale_is_its_definition"
)
_attention = faults_of("networks/layers/attention.py", SEQUENCES + "test_attention_is_its_definition")
_dense = faults_of("networks/layers/dense.py", "networks/test_bilinear.py::test_dense_layers_are_those_of_flax")
_blocks = faults_of("networks/layers/blocks.py", SEQUENCES + "test_block_is_two_residual_branches")
_steps = faults_of("networks/layers/steps.py", EQUATIONS + "test_transformer_over_steps")
_linear_attention = faults_of("networks/attention/linear_attention.py", OVER_STEPS + "test_linear_attention")
_xl_layer = faults_of("networks/attention/transformer_xl.py", OVER_STEPS + "test_transformer_xl")
_xl_attention = faults_of("networks/attention/relative_attention.py", OVER_STEPS + "test_transformer_xl")
_rg_lru = faults_of("networks/recurrent/rg_lru.py", OVER_STEPS + "test_rg_lru")
_matrix_states = faults_of("networks/recurrent/linear/matrix_states.py", OVER_STEPS + "test_linear_attention")
_mixers = faults_of("networks/recurrent/linear/network.py", OVER_STEPS + "test_rg_lru")
_gated = faults_of("networks/image/gated_pixelcnn.py", EQUATIONS + "test_gated_pixelcnn")

_local = faults_of("networks/layers/local_context.py", LOCAL + "test_encoder_by_its_equations")

NETWORK_FAULTS = (
    Fault(
        "a gradient of convolutions that CPUs alone can compute",
        "networks/layers/convolution.py",
        '{"cpu": _kernel_gradient_by_rows, "default": _kernel_gradient}',
        '{"cpu": _kernel_gradient_by_rows}',
        ("training/test_lowering.py::test_train_steps_on_a_mesh_and_the_step_form_of_every_network[pixelcnn-float32]",),
    ),
    Fault(
        "a gradient of convolutions whose blocks of rows lack the rows below them",
        "networks/layers/convolution.py",
        "up + rows + down, axis=1)",
        "up + rows, axis=1)",
        ("networks/test_convolution.py::test_gradients_of_kernels_by_blocks_of_rows",),
    ),
    Fault(
        "a gradient of convolutions whose blocks of rows start a row apart",
        "networks/layers/convolution.py",
        "x = jax.lax.dynamic_slice_in_dim(padded, block * rows,",
        "x = jax.lax.dynamic_slice_in_dim(padded, block,",
        ("networks/test_convolution.py::test_gradients_of_kernels_by_blocks_of_rows",),
    ),
    _dense("a dense layer whose kernel has the gradient of another", "correlate(x, dy,", "correlate(x * x, dy,"),
    _dense("a dense layer that subtracts its bias", "y = y + self.param(", "y = y - self.param("),
    _local(
        "an enlarged local part with rows and columns of its blocks exchanged",
        "rows = blocks.reshape(batch, height, width, s, t, self.features).swapaxes(2, 3)",
        "rows = blocks.reshape(batch, height, width, t, s, self.features).transpose(0, 1, 4, 2, 3, 5)",
    ),
    _local("strides of a local part that begin a pixel late", "pads = [(s // 2, s - s // 2)", "pads = [(0, s)"),
    _local("a local part without its residual block", "return x_BHWC + TapMix(", "return x_BHWC + 0 * TapMix("),
    _local(
        "colour channels that read the local context of other pixels",
        "jnp.asarray(sites) // (event.num_sites // flat.shape[1])",
        "jnp.asarray(sites) % flat.shape[1]",
        LOCAL + "test_vectors_of_sites_rows_and_pixels",
    ),
    Fault(
        "tokens with the local context of the site that they read",
        "networks/layers/steps.py",
        "tokens + of_sites(e, target, self.event)",
        "tokens + of_sites(e, read, self.event)",
        (LOCAL + "test_tokens_have_the_context_of_the_site_that_they_predict",),
    ),
    Fault(
        "a local context that is not flipped with its image",
        "networks/layers/grids.py",
        "order_K = jnp.asarray(factorization.order)[::channels] // channels",
        "order_K = jnp.arange(factorization.num_sites)[::channels] // channels",
        (LOCAL + "test_maps_are_flipped_with_their_image",),
    ),
    Fault(
        "a denoiser that does not read local parts of its context",
        "networks/denoisers/unet.py",
        "h if local is None else h + TapMix(",
        "h if local is None else h + 0 * TapMix(",
        (LOCAL + "test_denoisers_read_local_parts",),
    ),
    _two_stream(
        "two_stream without its target vector",
        "return self.target.astype(self.dtype) + self.site(sites) + of_sites(e, sites, self.event)",
        "return self.site(sites) + of_sites(e, sites, self.event)",
    ),
    _two_stream(
        "two_stream whose contents have no positions",
        "return self.value(values, sites) + self.site(sites) + of_sites(e, sites, self.event)",
        "return self.value(values, sites) + of_sites(e, sites, self.event)",
    ),
    _two_stream(
        "two_stream whose query stream has no MLP",
        "self._add(g, contents, may_g, train)), None",
        "g + self.attention.attend(self.attention_norm(g), contents, may_g)), None",
    ),
    Fault(
        "two_stream whose queries see the place of their own contents in a cache",
        "networks/any_order/two_stream.py",
        "jnp.concatenate([steps_k, before_j - 1])",
        "jnp.concatenate([steps_k, before_j])",
        ("laws/test_law3_step_form.py::test_step_form_equals_parallel_form",),
    ),
    Fault(
        "a ring of transformer_xl that is written as if it had a place for each step",
        "networks/attention/relative_attention.py",
        "jnp.mod(t, reach) * block_size)",
        "t * block_size)",
        ("networks/test_transformer_xl.py::test_a_ring_grows_and_goes_round",),
    ),
    _masked_transformer(
        "masked_transformer without positions",
        "h = h + self.site(sites_D)",
        "h = h + 0 * self.site(sites_D)",
    ),
    _lmconv(
        "lmconv without the norm of its output",
        "return x + position_norm(a) * nn.sigmoid(b)",
        "return x + a * nn.sigmoid(b)",
    ),
    _lmconv(
        "lmconv without its first activation",
        "view.read(self.conv_in, concat_elu(x))",
        "view.read(self.conv_in, jnp.concatenate([x, -x], -1))",
    ),
    _lmconv(
        "lmconv without its gate",
        "return x + position_norm(a) * nn.sigmoid(b)",
        "return x + position_norm(a)",
    ),
    _multiscale("the upsampler of multiscale without relu between layers", "h = nn.relu(conv(h))", "h = conv(h)"),
    _multiscale(
        "the upsampler of multiscale without its last relu", "return nn.relu(pixels[:, :", "return (pixels[:, :"
    ),
    Fault(
        "convolutional LSTMs that forget at first",
        "networks/image/lstm_scan.py",
        ".at[..., size : 2 * size].set(1.0)",
        ".at[..., size : 2 * size].set(0.0)",
        ("networks/test_pixel_rnn_equations.py::test_new_cells_remember",),
    ),
    Fault(
        "a strided window of l instead of l + 1",
        "networks/attention/sparse_transformer.py",
        "(Near(stride, stride, stride + 1), half)",
        "(Near(stride, stride, stride), half)",
        (EQUATIONS + "test_transformer_over_steps",),
    ),
    _attention("attention whose scores are not scaled", "q * q.shape[-1] ** -0.5, k)", "q, k)"),
    _attention(
        "attention that does not see its own block",
        "block[:, None] >= block[None, :]",
        "block[:, None] > block[None, :]",
    ),
    _blocks(
        "a Transformer layer without its second normalisation",
        "x, act = self.mlp_norm(x), activation(self.activation)",
        "x, act = 0 * self.mlp_norm(x) + x, activation(self.activation)",
    ),
    _blocks(
        "a Transformer layer without its second residual connection",
        "return x + self.drop(self._mlp(x), deterministic=not train), None",
        "return self.drop(self._mlp(x), deterministic=not train), None",
    ),
    _steps(
        "tokens that do not know where their value lies",
        "tokens = tokens + self.read_position(read)",
        "tokens = tokens + 0 * self.read_position(read)",
    ),
    _steps(
        "the first token is a value instead of nothing",
        "tokens = jnp.where(exists, self.value(values, read), self.nothing.astype(self.dtype))",
        "tokens = self.value(values, read) + 0 * self.nothing.astype(self.dtype)",
    ),
    _gated(
        "gated_pixelcnn whose vertical stack does not reach the horizontal one",
        "gated = gate(add_context(from_left + from_above, bias))",
        "gated = gate(add_context(from_left, bias))",
    ),
    _gated(
        "gated_pixelcnn without residual connections",
        "return out if self.first else h + out",
        "return out",
    ),
    Fault(
        "pixelcnn whose blocks begin without relu",
        "networks/image/pixelcnn.py",
        "nn.relu(self.narrow(nn.relu(x)))",
        "nn.relu(self.narrow(x))",
        (EQUATIONS + "test_pixelcnn",),
    ),
    Fault(
        "an LSTM that forgets at first",
        "networks/recurrent/lstm.py",
        "jnp.zeros(shape).at[: shape[0] // 4].set(1.0)",
        "jnp.zeros(shape)",
        (SEQUENCES + "test_lstm_forgets_nothing_at_first",),
    ),
    Fault(
        "a GRU with its update gate the wrong way round",
        "networks/recurrent/gru.py",
        "return z * h + (1 - z) * g",
        "return (1 - z) * h + z * g",
        ("networks/test_recurrent.py::test_layer_is_its_definition",),
    ),
    Fault(
        "partial derivatives of an elementwise function that belong to other arguments",
        "networks/layers/elementwise.py",
        "map(operator.mul, partials, changes)",
        "map(operator.mul, partials[::-1], changes)",
        ("networks/test_small_parts.py::test_elementwise_functions_keep_one_array_per_argument",),
    ),
    Fault(
        "an RG-LRU without the root of 1 - a^2",
        "networks/recurrent/rg_lru.py",
        "return jnp.exp(log_a), scale * i * x",
        "return jnp.exp(log_a), (1 - jnp.exp(log_a)) * i * x",
        ("networks/test_linear_recurrences.py::test_rg_lru_is_its_equations",),
    ),
    Fault(
        "linear attention that is not normalised",
        "networks/attention/linear_attention.py",
        "return sums[..., :-1] / jnp.maximum(sums[..., -1:], 1e-12)",
        "return sums[..., :-1]",
        ("networks/test_linear_recurrences.py::test_linear_attention_is_equation_9",),
    ),
    Fault(
        "transformer_xl without its bias v of positions",
        "networks/attention/relative_attention.py",
        'position = jnp.einsum("bngqh,nch->bngqc", q + v, latest_first)',
        'position = jnp.einsum("bngqh,nch->bngqc", q, latest_first)',
        ("networks/test_transformer_xl.py::test_attention_is_its_equation",),
    ),
    Fault(
        "wavenet without its gate",
        "networks/causal/wavenet.py",
        "z = jnp.tanh(filtered) * nn.sigmoid(gate)",
        "z = jnp.tanh(filtered)",
        ("networks/test_wavenet_tcn.py",),
    ),
    Fault(
        "tcn without relu after its residual connection",
        "networks/causal/tcn.py",
        "return nn.relu((x if self.in_features == self.features else self.match(x)) + hidden)",
        "return (x if self.in_features == self.features else self.match(x)) + hidden",
        ("networks/test_wavenet_tcn.py",),
    ),
    _multiscale(
        "multiscale whose larger images do not read the smaller ones",
        "return maps if condition is None else maps + condition",
        "return maps * 0 if condition is None else maps * 0 + condition",
    ),
    _multiscale(
        "multiscale whose larger images do not read the context",
        "return maps if condition is None else maps + condition",
        "return maps",
    ),
    _multiscale(
        "the upsampler of multiscale with rows and columns exchanged within a coarse pixel",
        "pixels = jnp.swapaxes(blocks, 2, 3).reshape",
        "pixels = blocks.reshape",
    ),
    _matrix_states(
        "linear attention that forgets earlier chunks",
        "return inside + product(found.queries, before)",
        "return inside + 0 * product(found.queries, before)",
    ),
    _linear_attention(
        "linear attention with the feature map exp",
        "return jnp.where(x > 0, x + 1, jnp.exp(jnp.minimum(x, 0)))",
        "return jnp.exp(x)",
    ),
    _xl_layer(
        "transformer_xl that normalises before it adds",
        "o = self.attention_norm(h + self.drop(mixed, deterministic=not train))",
        "o = h + self.attention_norm(self.drop(mixed, deterministic=not train))",
    ),
    _xl_layer(
        "transformer_xl with its biases u and v exchanged",
        "return self.content_bias.astype(self.dtype), self.distance_bias.astype(self.dtype)",
        "return self.distance_bias.astype(self.dtype), self.content_bias.astype(self.dtype)",
    ),
    _xl_attention(
        "transformer_xl that remembers no more than a segment",
        "memory = min(self.memory, (num_segments - 1) * length)",
        "memory = min(self.memory, length)",
    ),
    _rg_lru("rg_lru without its input gate", "scale * i * x", "scale * x"),
    _rg_lru(
        "rg_lru whose other branch has no activation",
        "self.out(nn.gelu(self.gate(rest)) * o)",
        "self.out(self.gate(rest) * o)",
    ),
    _mixers(
        "rg_lru without its last normalisation",
        "return self.norm(self.layers(x_BTE, 1, train, None)[0])",
        "return self.layers(x_BTE, 1, train, None)[0] + 0 * self.norm(x_BTE)",
    ),
    Fault(
        "tcn whose dilations do not grow",
        "networks/causal/tcn.py",
        "self.kernel_size, 2**i, self.dropout",
        "self.kernel_size, 1, self.dropout",
        (OVER_STEPS + "test_tcn",),
    ),
    Fault(
        "structured_made whose units feed the children of their site",
        "networks/dense/structured_made.py",
        "return (parents_DD @ (1 - parents_DD.T) == 0) & not_later_DD",
        "return (parents_DD.T > 0) & not_later_DD",
        ("networks/test_made_equations.py::test_structured_made_keeps_to_a_graph",),
    ),
    Fault(
        "made whose masks of hidden units are strict",
        "networks/dense/made.py",
        "masks.append(below[:, None] <= degrees)",
        "masks.append(below[:, None] < degrees)",
        ("networks/test_made_equations.py::test_logits_follow_the_paper",),
    ),
    Fault(
        "made whose outputs see their own step",
        "networks/dense/made.py",
        "return [*masks, below[:, None] < output_steps, read_steps[:, None] < output_steps]",
        "return [*masks, below[:, None] <= output_steps, read_steps[:, None] < output_steps]",
        ("laws/test_law1_autoregressive.py::test_jacobian_is_exactly_zero_where_it_must_be",),
    ),
    Fault(
        "nade that does not update its activations between chunks",
        "networks/dense/nade.py",
        "return a_BU + (x_BI @ W_IU).astype(jnp.float32), out",
        "return a_BU, out",
        ("networks/test_shared_and_separate.py::test_features_follow_the_definition",),
    ),
    Fault(
        "fvsbn with constants before the features that read earlier sites",
        "networks/dense/fvsbn.py",
        "(linear.ndim - 1) + [(0, self.num_features - self.num_read)]",
        "(linear.ndim - 1) + [(self.num_features - self.num_read, 0)]",
        ("networks/test_shared_and_separate.py::test_linear_means_with_constant_scales_are_gaussians_of_whole_rows",),
    ),
    Fault(
        "windows over a summary that forget its first step",
        "networks/attention/patterns.py",
        "kept_k = (place_k >= 0) & (place_k < self.count)",
        "kept_k = (place_k > 0) & (place_k < self.count)",
        ("networks/test_sparse_attention.py::test_windows_equal_the_whole",),
    ),
    Fault(
        "new blocks of a flow that move by their context",
        "networks/base.py",
        "re.search(LAST_LAYER, name) or re.search(FROM_CONTEXT, name)",
        "re.search(LAST_LAYER, name)",
        ("networks/test_last_layers.py::test_features_are_zero_whatever_the_context",),
    ),
    Fault(
        "fused attention that gives heads of queries to the wrong heads of keys",
        "networks/layers/fused_attention.py",
        "jnp.repeat(each, share, axis=1)",
        "jnp.tile(each, (1, share, 1, 1))",
        ("networks/test_fused_attention.py::test_kernel_of_tpus_is_the_formula",),
    ),
    Fault(
        "fused attention whose padding comes before the tokens",
        "networks/layers/fused_attention.py",
        "(0, -length % TPU_BLOCK)",
        "(-length % TPU_BLOCK, 0)",
        ("networks/test_fused_attention.py::test_kernel_of_tpus_is_the_formula",),
    ),
    Fault(
        "fused attention on the kernel of devices of the next generation only",
        "networks/layers/fused_attention.py",
        "< MIN_GPU",
        "<= MIN_GPU",
        ("networks/test_fused_attention.py::test_devices_and_their_kernels",),
    ),
)
