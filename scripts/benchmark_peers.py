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
    """A linear map with weights that are multiplied by a mask in the forward pass."""

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
    net = _gpt2(length, num_levels, width, num_layers, num_heads).train()

    def loss(x: torch.Tensor) -> torch.Tensor:
        logits = net(input_ids=x, use_cache=False).logits
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), x[:, 1:].flatten())

    data = torch.randint(0, num_levels, (NUM_EXAMPLES, length))
    return _train_step(net, torch.optim.AdamW(net.parameters()), loss, data, batch_size)


def generate(batch_size: int, length: int, num_levels: int, width: int, num_layers: int, num_heads: int) -> Step:
    """Tokens drawn one after another by `generate` of the `transformers` library, with its cache."""
    net = _gpt2(length, num_levels, width, num_layers, num_heads).eval()
    start = torch.zeros((batch_size, 1), dtype=torch.long)
    options = {"do_sample": True, "top_k": 0, "eos_token_id": None, "pad_token_id": 0, "use_cache": True}
    return lambda: net.generate(start, attention_mask=torch.ones_like(start), max_new_tokens=length, **options)


def _gpt2(length: int, num_levels: int, width: int, num_layers: int, num_heads: int) -> transformers.GPT2LMHeadModel:
    """GPT-2 without dropout, with a position for each token and for a first one before them."""
    config = transformers.GPT2Config(
        vocab_size=num_levels,
        n_positions=length + 1,
        n_embd=width,
        n_layer=num_layers,
        n_head=num_heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=None,
    )
    return transformers.GPT2LMHeadModel(config)


class MaskedConv(nn.Conv2d):
    """A convolution that keeps the size of the image, its kernel multiplied by a mask in the forward pass.

    It reads the rows above in full width; of its own row the pixels to the left, with `centre` the pixel itself. Or,
    with `above`, its own row in full width with `centre` and else not at all.
    """

    def __init__(self, size: int, features: int, kernel: tuple[int, int], *, centre: bool, above: bool = False):
        super().__init__(size, features, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
        mask, (row, column) = torch.ones(kernel), (kernel[0] // 2, kernel[1] // 2)
        mask[row + 1 :] = 0
        mask[row, (0 if not centre else kernel[1]) if above else column + centre :] = 0
        self.register_buffer("mask", mask)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class ResidualBlock(nn.Module):
    """The residual block of PixelCNN."""

    def __init__(self, size: int):
        super().__init__()
        half = size // 2
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(size, half, 1),
            nn.ReLU(),
            MaskedConv(half, half, (3, 3), centre=True),
            nn.ReLU(),
            nn.Conv2d(half, size, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


def pixelcnn(batch_size: int, length: int, hidden_size: int, num_layers: int, out_size: int) -> Step:
    """PixelCNN on binary images, Adam."""
    net = nn.Sequential(
        MaskedConv(1, hidden_size, (7, 7), centre=False),
        *(ResidualBlock(hidden_size) for _ in range(num_layers)),
        *(nn.ReLU(), nn.Conv2d(hidden_size, out_size, 1), nn.ReLU(), nn.Conv2d(out_size, out_size, 1)),
        *(nn.ReLU(), nn.Conv2d(out_size, 1, 1)),
    )
    return _image_step(net, batch_size, length)


class GatedLayer(nn.Module):
    """Both stacks of a layer of Gated PixelCNN."""

    def __init__(self, inputs: int, size: int, kernel: int, *, first: bool):
        super().__init__()
        self.vertical = MaskedConv(inputs, 2 * size, (kernel, kernel), centre=not first, above=True)
        self.between = nn.Conv2d(2 * size, 2 * size, 1, bias=False)
        self.horizontal = MaskedConv(inputs, 2 * size, (1, kernel), centre=not first)
        self.out = nn.Conv2d(size, size, 1)
        self.first = first

    def forward(self, pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        v, h = pair
        v = self.vertical(v)
        out = self.out(_gate(self.horizontal(h) + self.between(v)))
        return _gate(v), out if self.first else h + out


class GatedPixelCNN(nn.Module):
    """All its layers."""

    def __init__(self, size: int, num_layers: int, out_size: int):
        super().__init__()
        self.first = GatedLayer(1, size, 7, first=True)
        self.layers = nn.Sequential(*(GatedLayer(size, size, 3, first=False) for _ in range(num_layers)))
        self.out = nn.Sequential(nn.ReLU(), nn.Conv2d(size, out_size, 1), nn.ReLU(), nn.Conv2d(out_size, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, h = self.layers(self.first((x, x)))
        return self.out(h)


def gated_pixelcnn(batch_size: int, length: int, hidden_size: int, num_layers: int, out_size: int) -> Step:
    """Gated PixelCNN on binary images, Adam."""
    return _image_step(GatedPixelCNN(hidden_size, num_layers, out_size), batch_size, length)


def _gate(y: torch.Tensor) -> torch.Tensor:
    y_f, y_g = y.chunk(2, 1)
    return torch.tanh(y_f) * torch.sigmoid(y_g)


def _image_step(net: nn.Module, batch_size: int, length: int) -> Step:
    def loss(rows: torch.Tensor) -> torch.Tensor:
        x = rows.float()
        return F.binary_cross_entropy_with_logits(net(x), x)

    data = torch.randint(0, 2, (NUM_EXAMPLES, 1, length, length))
    return _train_step(net, torch.optim.Adam(net.parameters()), loss, data, batch_size)


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
