"""Sequence to sequence learning with two LSTMs (Sutskever, Vinyals & Le, 2014)."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from arjax.core.options import depth_option, rate_option
from arjax.core.spec import ContextSpec
from arjax.networks.base import NETWORKS, Context
from arjax.networks.layers.embedding import ContextEncoder, known_values, value_map, value_vectors
from arjax.networks.layers.steps import StepNetwork, StepReadout, StepTokens, to_grid
from arjax.networks.recurrent.rnn import Cell, LSTMLayer
from arjax.networks.recurrent.stack import RecurrentCore


def reverse_valid(source_BL: jax.Array, valid_BL: jax.Array) -> jax.Array:
    """Each sequence [B, L, ...] reversed: its last valid element first, the padding still at the end."""
    place_L = jnp.arange(valid_BL.shape[1])
    last_B1 = valid_BL.sum(1, keepdims=True) - 1
    from_BL = jnp.where(place_L <= last_B1, last_B1 - place_L, place_L)
    return jnp.take_along_axis(source_BL, from_BL.reshape(*from_BL.shape, *(1,) * (source_BL.ndim - 2)), axis=1)


class SourceEncoder(nn.Module):
    """A context as the first state (c, h) of each layer of the decoder. An LSTM of its own reads a sequence to its last
    valid element (section 2), with `reverse` backwards, so that the first words of source and target are close to one
    another (section 3.3). Linear maps of the other parts of the context replace this state, or are added to it.
    """

    spec: ContextSpec
    embedding_size: int
    hidden_size: int
    num_layers: int
    dropout: float
    reverse: bool
    dtype: str

    def setup(self):
        lines = [(name, part) for name, part in self.spec.parts if len(part.grid_shape) == 1]
        self.source = lines[0] if lines else None
        rest = ContextSpec(**dict(entry for entry in self.spec.parts if entry != self.source))
        if rest:
            self.state = ContextEncoder(rest, 2 * self.num_layers * self.hidden_size, self.dtype)
        self.has_state = bool(rest)
        if self.source is None:
            return
        self.values = value_map(self.source[1], self.embedding_size, self.dtype)
        self.core = RecurrentCore(
            LSTMLayer, self.embedding_size, self.hidden_size, self.num_layers, self.dropout, False, 0, self.dtype
        )

    def __call__(self, context: Context, train: bool) -> list[Cell]:
        """One (c, h) per layer, [B, U] each."""
        states = [self._read(context, train)] if self.source is not None else []
        if self.has_state:
            parts = jnp.split(self.state(context), 2 * self.num_layers, axis=-1)
            pairs = zip(parts[::2], parts[1::2], strict=True)
            states.append([(c.astype(jnp.float32), jnp.tanh(h)) for c, h in pairs])
        return jax.tree.map(lambda *terms: sum(terms[1:], terms[0]), *states)

    def _read(self, context: Context, train: bool) -> list[Cell]:
        """The state after the last valid element of the source."""
        name, part = self.source
        source, valid_BL = known_values(context[name], part)
        if self.reverse:
            source = reverse_valid(source, valid_BL)
        inputs_BLE = value_vectors(source, part, self.values)
        state, _ = self.core.run(self.core.start(source.shape[0]), inputs_BLE, train, valid_BL)
        return state


@NETWORKS.register("seq2seq_lstm")
class Seq2SeqLSTM(StepNetwork):
    """p(y_1..y_T | x_1..x_L) = prod_t p(y_t | v, y_1..y_t-1), where v is the last state of an LSTM that reads x
    (equation 1): the initial state of another LSTM, layer by layer, with a linear readout.

    The source x is the context, a sequence or frames. Other contexts are mapped linearly to the initial state, which is
    zero without a context. Local parts are added to the inputs of their sites. Options: `hidden_size` U,
    `embedding_size` of source and target, `num_layers` of either LSTM, `dropout` between layers (Zaremba et al., 2014;
    the paper has none), `reverse_source`, `position` ("none", "learned", "sinusoidal").
    """

    embedding_size: int = 128
    num_layers: int = depth_option(2)
    dropout: float = rate_option()
    reverse_source: bool = True

    TRAITS = StepNetwork.TRAITS | {"unbounded"}
    SMALL = {"hidden_size": 20, "embedding_size": 16, "num_layers": 2, "position": "learned"}

    @property
    def input_size(self) -> int:
        return self.embedding_size

    def setup(self):
        sizes = (self.embedding_size, self.hidden_size, self.num_layers, self.dropout)
        self.tokens = StepTokens(self.event, self.context_spec.at_sites, self.input_size, self.position, self.dtype)
        self.core = RecurrentCore(LSTMLayer, *sizes, False, 0, self.dtype)
        self.readout = StepReadout(self.event, self.hidden_size, self.num_features, self.position, self.dtype)
        if self.context_spec.as_whole:
            self.encoder = SourceEncoder(self.context_spec.as_whole, *sizes, self.reverse_source, self.dtype)

    def _first_state(self, batch_size: int, context: Context | None, train: bool) -> list[Cell]:
        return self.encoder(context, train) if self.context_spec.as_whole else self.core.start(batch_size)

    def __call__(self, x, factorization, context=None, *, train=False):
        steps = jnp.arange(factorization.num_steps)
        inputs_BSE = self._pool(self.tokens(x, steps, factorization, self.tokens.encode(context)))
        _, states_BSU = self.core.run(self._first_state(x.shape[0], context, train), inputs_BSE, train)
        return to_grid(self.readout(states_BSU, jnp.asarray(factorization.blocks)), factorization)

    def start(self, batch_size, factorization, context=None):
        """The source is read once, before the first step."""
        return self._first_state(batch_size, context, train=False), None, self.tokens.to_keep(context)

    def step(self, carry, canvas, t, factorization, context=None):
        return super().step(carry, canvas, t, factorization)  # the context is in the carry
