"""The peers that scripts/benchmark.py measures against: the same nets in torch, run eagerly. Nothing else imports this.

Each function returns a callable that does one train step, optimizer included, on rows of random data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
import transformers
from torch import nn

VERSIONS = {"torch": torch.__version__, "transformers": transformers.__version__}

NUM_EXAMPLES = 512

Step = Callable[[], torch.Tensor]


class MaskedLinear(nn.Linear):
    """A linear map whose weights are multiplied by a mask in the forward pass."""

    def __init__(self, mask: torch.Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.mask * self.weight, self.bias)


def made(batch_size: int, num_inputs: int, hidden_size: int) -> Step:
    """MADE with one hidden layer on binary data, Adam."""
    site, degree = torch.arange(num_inputs), torch.arange(hidden_size) % (num_inputs - 1)
    net = nn.Sequential(
        MaskedLinear((degree[:, None] >= site).float()),
        nn.ReLU(),
        MaskedLinear((site[:, None] > degree).float()),
    )

    def loss(rows: torch.Tensor) -> torch.Tensor:
        x = rows.float()
        return F.binary_cross_entropy_with_logits(net(x), x)

    data = torch.randint(0, 2, (NUM_EXAMPLES, num_inputs))
    return _train_step(net, torch.optim.Adam(net.parameters()), loss, data, batch_size)


def lstm(batch_size: int, length: int, num_levels: int, hidden_size: int, num_layers: int) -> Step:
    """Stacked LSTM that predicts tokens, Adam."""
    embed = nn.Embedding(num_levels, hidden_size)
    core = nn.LSTM(hidden_size, hidden_size, num_layers, batch_first=True)
    out = nn.Linear(hidden_size, num_levels)
    net = nn.ModuleList([embed, core, out])

    def loss(x: torch.Tensor) -> torch.Tensor:
        logits = out(core(embed(torch.roll(x, 1, dims=1)))[0])
        return F.cross_entropy(logits.flatten(0, 1), x.flatten())

    data = torch.randint(0, num_levels, (NUM_EXAMPLES, length))
    return _train_step(net, torch.optim.Adam(net.parameters()), loss, data, batch_size)


def transformer(batch_size: int, length: int, num_levels: int, width: int, num_layers: int, num_heads: int) -> Step:
    """GPT-2 of the `transformers` library without dropout, AdamW."""
    config = transformers.GPT2Config(
        vocab_size=num_levels,
        n_positions=length,
        n_embd=width,
        n_layer=num_layers,
        n_head=num_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    net = transformers.GPT2LMHeadModel(config).train()

    def loss(x: torch.Tensor) -> torch.Tensor:
        logits = net(input_ids=x).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())

    data = torch.randint(0, num_levels, (NUM_EXAMPLES, length))
    return _train_step(net, torch.optim.AdamW(net.parameters()), loss, data, batch_size)


def _train_step(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[torch.Tensor], torch.Tensor],
    data: torch.Tensor,
    batch_size: int,
) -> Step:
    def step() -> torch.Tensor:
        value = loss(data[torch.randint(0, len(data), (batch_size,))])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.detach()

    return step
