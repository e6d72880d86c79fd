"""Models of other packages from PyPI, as a user of them would wrap them for `arjax.audit`.

    pip install torch transformers x-transformers zuko nltk copulas pomegranate scikit-learn
    python experiments/audit/study.py foreign

A function for each model returns the package and the arguments of `arjax.audit`. None of them is trained to be good:
whether scores are those of a distribution does not depend on that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arjax import EventSpec

LEVELS, LENGTH = 5, 4
#: Strings of tokens 0 to 4; token 0 begins a string in front of the first site, as its first prefix.
TOKENS = EventSpec((LENGTH,), (), "tokens", LEVELS)
BEGIN = 0
PLANE = EventSpec((2,), (), "real")
FOREIGN: dict[str, tuple[str, Callable[[], dict[str, Any]]]] = {}


def foreign(package: str) -> Callable[[Callable[[], dict]], Callable[[], dict]]:
    """Registers a model of a package."""

    def register(model: Callable[[], dict]) -> Callable[[], dict]:
        FOREIGN[model.__name__] = package, model
        return model

    return register


def points(num: int = 400) -> np.ndarray:
    """Rows of two columns that depend on each other, one of them skewed."""
    rng = np.random.default_rng(0)
    first = rng.gamma(2.0, 1.0, num)
    return np.stack([first, 0.5 * first + rng.normal(size=num)], 1)


def of_logits(logits: Callable[[np.ndarray], Any], sample: Callable[..., Any]) -> dict[str, Any]:
    """The functions of a network that returns logits [B, T + 1, V] of the tokens behind those of [B, T + 1]."""
    import torch

    def log_p(x):
        tokens = torch.from_numpy(np.concatenate([np.full((len(x), 1), BEGIN), x], 1)).long()
        with torch.no_grad():
            return torch.log_softmax(logits(tokens)[:, :-1].double(), -1).numpy()

    def log_prob(x):
        return np.take_along_axis(log_p(x), x[..., None].astype(int), -1)[..., 0].sum(1)

    return {
        **{"event": TOKENS, "log_prob": log_prob, "sample": sample},
        "conditionals": lambda x, t: np.exp(log_p(x)[:, t]),
    }


@foreign("transformers")
def gpt2() -> dict[str, Any]:
    """GPT-2 of two layers with random weights; `generate` samples the 50 most probable tokens by default: here all."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2, "initializer_range": 0.3}
    config = GPT2Config(vocab_size=LEVELS, bos_token_id=BEGIN, eos_token_id=None, pad_token_id=None, **sizes)
    model = GPT2LMHeadModel(config).eval()

    def sample(num, seed):
        torch.manual_seed(seed)
        begin = torch.full((num, 1), BEGIN)
        return model.generate(begin, do_sample=True, max_new_tokens=LENGTH, min_new_tokens=LENGTH)[:, 1:].numpy()

    return of_logits(lambda tokens: model(tokens).logits, sample)


def _wrapper(**generate: Any) -> dict[str, Any]:
    import torch
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    torch.manual_seed(0)
    layers = Decoder(dim=32, depth=2, heads=2)
    network = TransformerWrapper(num_tokens=LEVELS, max_seq_len=LENGTH + 1, attn_layers=layers).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0)  # its logits at the start are almost equal
    wrapper = AutoregressiveWrapper(network)

    def sample(num, seed):
        torch.manual_seed(seed)
        return wrapper.generate(torch.full((num, 1), BEGIN), LENGTH, **generate).numpy()

    return of_logits(network, sample)


@foreign("x-transformers")
def autoregressive_wrapper() -> dict[str, Any]:
    """Samples by `generate` as it is called without options: it keeps the most probable logits only (`top_k`)."""
    return _wrapper()


@foreign("x-transformers")
def autoregressive_wrapper_unfiltered() -> dict[str, Any]:
    """The same, with a filter that leaves the logits alone."""
    return _wrapper(filter_logits_fn=lambda logits: logits)


@foreign("zuko")
def neural_spline_flow() -> dict[str, Any]:
    """A neural spline flow of two columns after a few steps on dequantised counts."""
    import torch
    import zuko

    torch.manual_seed(0)
    flow = zuko.flows.NSF(2, transforms=2, hidden_features=(32, 32))
    data = torch.from_numpy(np.random.default_rng(1).poisson(2.0, (512, 2)) + np.random.default_rng(2).random((512, 2)))
    data = ((data - data.mean(0)) / data.std(0)).float()
    adam = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(100):
        adam.zero_grad()
        loss = -flow().log_prob(data).mean()
        loss.backward()
        adam.step()

    def sample(num, seed):
        torch.manual_seed(seed)
        with torch.no_grad():
            return flow().sample((num,)).numpy()

    def log_prob(x):
        with torch.no_grad():
            return flow().log_prob(torch.from_numpy(np.asarray(x, np.float32))).numpy()

    return {"event": PLANE, "log_prob": log_prob, "sample": sample}


@foreign("scikit-learn")
def gaussian_mixture() -> dict[str, Any]:
    """scikit-learn's `GaussianMixture`."""
    from sklearn.mixture import GaussianMixture

    model = GaussianMixture(3, random_state=0).fit(points())

    def sample(num, seed):
        model.random_state = seed
        return model.sample(num)[0]

    return {"event": PLANE, "log_prob": model.score_samples, "sample": sample}


@foreign("scikit-learn")
def kernel_density() -> dict[str, Any]:
    """scikit-learn's `KernelDensity` with Gaussian kernels."""
    from sklearn.neighbors import KernelDensity

    model = KernelDensity(bandwidth=0.4).fit(points())
    return {
        **{"event": PLANE, "log_prob": model.score_samples},
        "sample": lambda num, seed: model.sample(num, random_state=seed),
    }


def _bigrams(name: str) -> dict[str, Any]:
    """A model of nltk over its whole vocabulary: five words, the end of a text, the unknown word, and the begin of a
    text, which counts as a word there.
    """
    from nltk import lm
    from nltk.lm.preprocessing import padded_everygram_pipeline

    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.full(LEVELS + 1, 0.5), size=LEVELS)  # the last value ends a text
    texts = []
    for _ in range(300):
        text = [0]
        while text[-1] < LEVELS and len(text) < 20:
            text.append(int(rng.choice(LEVELS + 1, p=rows[text[-1]])))
        texts.append([str(v) for v in text if v < LEVELS])
    model = getattr(lm, name)(order=2)
    model.fit(*padded_everygram_pipeline(2, texts))
    words = [*map(str, range(LEVELS)), "</s>", "<UNK>", "<s>"]
    first = np.array([model.score(word, ["<s>"]) for word in words])
    tables = np.array([[model.score(word, [before]) for word in words] for before in words])

    def conditionals(x, t):
        return tables[x[:, t - 1]] if t else np.repeat(first[None], len(x), 0)

    return {"event": EventSpec((LENGTH,), (), "tokens", len(words)), "conditionals": conditionals, "end": LEVELS}


@foreign("nltk")
def bigrams_of_laplace() -> dict[str, Any]:
    """nltk's `Laplace`: one more of each bigram."""
    return _bigrams("Laplace")


@foreign("nltk")
def bigrams_of_kneser_and_ney() -> dict[str, Any]:
    """nltk's `KneserNeyInterpolated`."""
    return _bigrams("KneserNeyInterpolated")


@foreign("nltk")
def bigrams_of_witten_and_bell() -> dict[str, Any]:
    """nltk's `WittenBellInterpolated`."""
    return _bigrams("WittenBellInterpolated")


@foreign("copulas")
def gaussian_copula() -> dict[str, Any]:
    """The Gaussian copula of copulas, which SDV builds on: `log_probability_density` of a table of two columns."""
    import pandas as pd
    from copulas.multivariate import GaussianMultivariate
    from copulas.univariate import GaussianUnivariate

    model = GaussianMultivariate(distribution=GaussianUnivariate)
    model.fit(pd.DataFrame(points(), columns=["a", "b"]))

    def log_prob(x):
        return model.log_probability_density(pd.DataFrame(np.asarray(x, float), columns=["a", "b"]))

    def sample(num, seed):
        model.set_random_state(seed)
        return model.sample(num).to_numpy()

    return {"event": PLANE, "log_prob": log_prob, "sample": sample}


@foreign("pomegranate")
def bayesian_network() -> dict[str, Any]:
    """pomegranate's `BayesianNetwork` of four binary columns, of the structure of Chow and Liu."""
    import torch
    from pomegranate.bayesian_network import BayesianNetwork

    rng = np.random.default_rng(0)
    first = rng.integers(2, size=(400, 1))
    x = np.concatenate([first, first ^ (rng.random((400, 3)) < 0.2)], 1)
    model = BayesianNetwork(algorithm="chow-liu").fit(torch.from_numpy(x))

    def log_prob(rows):
        return model.log_probability(torch.from_numpy(np.asarray(rows, np.int64))).numpy()

    return {"event": EventSpec((4,), (), "binary"), "log_prob": log_prob}
