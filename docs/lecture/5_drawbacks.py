# %% [markdown]
# # 5. Drawbacks
#
# This notebook shows four drawbacks of autoregressive models, each with its remedies: samples take many steps, one
# order answers few questions, errors accumulate along a sample, and the values far back are forgotten.

# %%
import functools
import time

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import arjax
from arjax.core.batch import Batch
from arjax.evaluation.exposure import exposure, open_truth
from arjax.evaluation.sampling import prepare_sampler
from arjax.models import ModelChoice
from arjax.objectives import TRUTH, ObjectiveState, Step, make_objective

digits = arjax.make_dataset("digits")
training = {"train": digits, "steps": 300, "batch_size": 50, "learning_rate": 2e-3, "quiet": True}

# %% [markdown]
# ## Slow generation
# An image has 64 pixels, so a sample takes 64 calls of the network, one after another. Three remedies draw from the
# same model with less work:
#
# - **Cache.** The network keeps its intermediate results, and each call computes one pixel instead of the whole image.
# - **Fixed point** (Jacobi iteration). One pass draws all pixels given a guess of the image. The result is the next
#   guess, until nothing changes.
# - **Speculation.** A small draft proposes seven pixels, and one call of the network verifies them. The draft here
#   counts how often each level follows three others in the training images.

# %%
made = arjax.make_model(digits.event, "made", hidden_sizes=(128,))
raster = arjax.fit_arrays(made, **training)
keys = jax.random.split(jax.random.key(0), 16)


def measure(fitted, sampler="cached"):
    """16 samples, the calls of the network for each of them, and the seconds for all together: the best of three."""
    sampler = prepare_sampler(sampler, fitted.model, fitted.params, fitted.dataset, arjax.open_run)
    seconds = []
    for _ in range(4):  # the first draw compiles
        start = time.perf_counter()
        x, stats = jax.block_until_ready(fitted.model.draw(fitted.params, keys, sampler=sampler))
        seconds.append(time.perf_counter() - start)
    return np.asarray(x), float(np.mean(stats["network_calls"])), min(seconds[1:])


samplers = {
    "naive": "naive",
    "cached": "cached",
    "fixed point": "fixed_point",
    "speculation": "speculative(draft='counts(order=3)',window=8)",
}
drawn = {name: measure(raster, sampler) for name, sampler in samplers.items()}

# %% [markdown]
# All four draw the same images from the same keys. The model is the same, too, so its nats do not change.

# %%
assert all((x == drawn["naive"][0]).all() for x, _, _ in drawn.values())

# %% [markdown]
# Two more remedies are other models, which have fewer steps:
#
# - **Blocks** of eight pixels are drawn in one step, as if they were independent given the earlier blocks.
# - A **cascade** first draws every second pixel of every second row, one after another: 16 steps. One more call draws
#   the other 48 pixels, each given these 16. Its score is exact.

# %%
blocks = arjax.make_model(digits.event, "made", partition="blocks(size=8)", hidden_sizes=(128,))
parts = {
    "1": ModelChoice(network="made", network_options={"hidden_sizes": (128,)}),
    "2": ModelChoice(
        network="independent", network_options={"width": 32, "num_blocks": 1}, options={"partition": "whole"}
    ),
}
cascade = arjax.make_model(digits.event, kind="cascade", stages="subsampled", parts=parts)
others = {name: arjax.fit_arrays(model, **training) for name, model in {"blocks": blocks, "cascade": cascade}.items()}
drawn |= {name: measure(fitted) for name, fitted in others.items()}

# %%
print(f"{'':12} calls  seconds  test nats")
table = {}
for name, (_, calls, seconds) in drawn.items():
    scores = others.get(name, raster).results
    table[name] = calls, seconds, scores["nll_nats"], scores["nll_stderr"]
    print(f"{name:12} {calls:5.1f}  {seconds:7.4f}  {table[name][2]:.1f} ± {table[name][3]:.1f} ({scores['kind']})")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
for row, (name, (calls, seconds, nats, error)) in enumerate(table.items()):
    style = {"color": f"C{row}", "label": name}
    left.errorbar(
        calls, nats, error, fmt="s" if name == "naive" else "o", markersize=11 if name == "naive" else 6, **style
    )
    right.plot(seconds, row, "o", **style)
left.set(xscale="log", xlabel="calls of the network for a sample", ylabel="test nats")
left.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
left.minorticks_off()
right.set_yticks(range(len(table)), list(table))
right.set(xscale="log", xlabel="seconds for 16 samples")
right.set_xticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
right.minorticks_off()
right.invert_yaxis()
plt.show()

# %% [markdown]
# The four samplers of one model stand at one height: 64 calls (naive, as a square, and cached), and fewer calls for
# speculation and the fixed point. Blocks draw an image in eight calls and pay with nats. The cascade needs 17 calls,
# and its nats equal those of the first model within their standard errors. It is another network, so this says
# nothing about other cascades.
#
# Fewer calls need not take less time. This network is small and runs on a CPU, where a pass over all pixels, or over
# a window of them, costs much more than a cached step. [The page on sampling](../sampling.md) says when each sampler
# saves time, and [the page on tokens](../tokens.md) describes another model with few steps.

# %% [markdown]
# ## One order, one direction
# Raster order has p(bottom | top). The opposite question is refused, because the observed sites come last.

# %%
image = digits.splits["test"].arrays.x[0]
lower = np.broadcast_to(np.arange(8)[:, None] >= 4, (8, 8))
try:
    raster.sample(4, given=image, observed=lower)
except arjax.UserError as error:
    print(error)

# %% [markdown]
# Another order answers it: `reversed` visits the lower half first. A model without training suffices to show that it
# keeps the observed half.

# %%
backwards = arjax.make_model(digits.event, "made", ordering="reversed", hidden_sizes=(128,))
untrained = backwards.init(jax.random.key(0))
completed = np.asarray(backwards.sample(untrained, jax.random.key(1), 4, given=image, observed=lower))
assert (completed[:, 4:] == image[4:]).all()

# %% [markdown]
# ## Errors that accumulate
# Training reads beginnings of the data. Sampling continues beginnings of the model, which may never occur in the data.
# The errors after such beginnings can be measured exactly where the true distribution is known: here sequences of 32
# tokens from a Markov chain in which each token depends on the two tokens before it.
#
# The model is a small recurrent network. The next cell is a training loop of a few lines, because the second stage
# below starts from given parameters.

# %%
optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())


@functools.partial(jax.jit, static_argnames="objective")
def train_step(model, objective, params, state, batch, companions, rate, key):
    """The parameters and the state of the optimizer after one step."""

    def loss(params):
        return objective.loss(model, params, ObjectiveState(), batch, Step(key, companions=companions)).value

    updates, state = optimizer.update(jax.grad(loss)(params), state)
    return jax.tree.map(lambda p, update: p - rate * update, params, updates), state


def train(model, examples, objective="teacher_forcing", params=None, truth=None, steps=200, rate=4e-3, batch_size=64):
    """The parameters after some train steps, from given parameters or fresh ones; the learning rate falls to zero."""
    objective, companions = make_objective(objective), {} if truth is None else {TRUTH: truth}
    params = model.init(jax.random.key(0)) if params is None else params
    state = optimizer.init(params)
    for i, rows in enumerate(np.random.default_rng(0).integers(len(examples), size=(steps, batch_size))):
        now, key = rate * (1 - i / steps), jax.random.key(i)
        params, state = train_step(model, objective, params, state, examples.take(rows), companions, now, key)
    return params


chain = arjax.make_dataset("markov_chain", order=2, levels=16, concentration=0.05, length=32, num_examples=2000)
gru = arjax.make_model(chain.event, "gru", hidden_size=64)
sequences = chain.splits["train"].arrays
truth = open_truth(chain)  # a model with the exact conditionals of the chain
first = train(gru, sequences, truth=truth)

# %% [markdown]
# Two-stage training goes on from these parameters. In *rollouts*, the model draws windows of 16 tokens after
# beginnings of the data, and learns to predict the next token after its own draws. The target is the **true**
# distribution of the next token, which is known here, and unknown in practice. Half of the loss remains teacher
# forcing. A second stage of teacher forcing alone is the control.

# %%
half = """weighted(of=('teacher_forcing', 'rollout(length=16, target="oracle")'), weights=(0.5, 0.5))"""
stages = {"teacher forcing": "teacher_forcing", "rollouts": half}
params = {"first stage": first} | {
    f"then {name}": train(gru, sequences, objective, first, truth, steps=100, rate=1e-3)
    for name, objective in stages.items()
}
errors = {name: exposure(gru, of_stage, truth, num=500, key=jax.random.key(1)) for name, of_stage in params.items()}
for name, found in errors.items():
    print(f"{name:22} errors after own beginnings are {found.excess[-1]:+.0f} ± {found.excess_stderr[-1]:.0f} % larger")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
kinds = {"after beginnings of the data": "forward_data", "after its own beginnings": "forward_own"}
for i, (words, kind) in enumerate(kinds.items()):
    of_kind = [getattr(found, kind) for found in errors.values()]
    steps = np.arange(1, 33)
    left.plot(steps, of_kind[0].accumulated, label=words)
    half = 1.96 * of_kind[0].accumulated_stderr
    left.fill_between(steps, of_kind[0].accumulated - half, of_kind[0].accumulated + half, alpha=0.2)
    sums, spread = [found.accumulated[-1] for found in of_kind], [found.accumulated_stderr[-1] for found in of_kind]
    right.barh(np.arange(len(errors)) + 0.4 * i, sums, 0.4, xerr=spread)
left.set(xlabel="length", ylabel="accumulated error (nats)", title="first stage")
left.legend()
right.set_yticks(np.arange(len(errors)) + 0.2, list(errors))
right.set(xlabel="accumulated error of 32 tokens (nats)")
right.invert_yaxis()
plt.show()

# %% [markdown]
# The errors of the first stage grow faster after beginnings of the model than after beginnings of the data. More
# teacher forcing makes both errors smaller, and their ratio hardly changes. Rollouts with the true distribution have
# the smallest errors, but in practice that distribution is unknown. The target may also be the next token of the data.
# [A study](../../experiments/exposure_bias/README.md) compares these targets on three kinds of data.

# %% [markdown]
# ## Long-term dependency
# Copy memory: ten symbols, a pause, and the same ten symbols again. Only the copies are scored. A model without memory
# pays 10 log 8 = 20.8 nats for them, and a model that remembers pays nothing. All sequences have the same length here:
# blanks behind the copies fill the sequences with a shorter pause, and are not scored.

# %%
PAUSES, LENGTH = (1, 30), 50
attention = {"width": 32, "num_layers": 1, "num_heads": 1}
networks = {"gru": {"hidden_size": 64}, "transformer": attention, "linear_attention": attention}


def examples_of(data, split):
    """The examples of a split of the copy task, filled up to the common length."""
    fill = [(0, 0), (0, LENGTH - data.event.num_sites)]
    arrays = data.splits[split].arrays
    return Batch(np.pad(arrays.x, fill), mask=np.pad(arrays.mask, fill).astype(np.float32))


nats_of = jax.jit(lambda model, params, test: -model.log_prob(params, test.x, mask=test.mask).mean())
copies = {name: [] for name in networks}
for pause in PAUSES:
    data = arjax.make_dataset("copy_memory", delay=pause, num_examples=4000)
    for name, options in networks.items():
        model = arjax.make_model(arjax.EventSpec((LENGTH,), kind="tokens", num_levels=10), name, **options)
        trained = train(model, examples_of(data, "train"), steps=150, batch_size=32)
        copies[name].append(float(nats_of(model, trained, examples_of(data, "test"))))
    print(f"pause of {pause}:", {name: round(nats[-1], 2) for name, nats in copies.items()})

# %% [markdown]
# Attention reads any earlier token directly. It compares every token with every earlier one, so its costs grow with the
# square of the length. Linear attention sums up the past in a state of fixed size. The next cell measures one pass.
# Zeros serve as parameters, because their values do not change the costs.

# %%
lengths, costs = (1024, 4096), {}
for name in ("transformer", "linear_attention"):
    for length in lengths:
        model = arjax.make_model(arjax.EventSpec((length,), kind="tokens", num_levels=8), name, **attention)
        x = np.zeros((1, length), np.int32)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        weights = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        score = jax.jit(model.log_prob).lower(weights, x).compile()
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            jax.block_until_ready(score(weights, x))
            seconds.append(time.perf_counter() - start)
        costs[name, length] = min(seconds), score.memory_analysis().temp_size_in_bytes / 2**20

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
for color, (name, nats) in enumerate(copies.items()):
    axes[0].plot(PAUSES, nats, "o-", color=f"C{color}", label=name)
    if name != "gru":
        for axis, values in zip(axes[1:], zip(*(costs[name, length] for length in lengths), strict=True), strict=True):
            axis.plot(lengths, values, "o-", color=f"C{color}", label=name)
axes[0].axhline(10 * np.log(8), color="gray", linewidth=0.8)
axes[0].set(xscale="log", xlabel="pause", ylabel="test nats of the ten copies")
axes[1].set(xscale="log", yscale="log", xlabel="length", ylabel="seconds of a pass")
axes[2].set(xscale="log", yscale="log", xlabel="length", ylabel="memory of a pass (MiB)")
for axis, ticks in zip(axes, (PAUSES, lengths, lengths), strict=True):
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
axes[0].legend()
plt.show()

# %% [markdown]
# The recurrent network forgets: its nats rise with the pause up to the gray line, which is a model without memory.
# After as many train steps, both kinds of attention copy nearly all symbols. Linear attention has a price, too: its
# copies are less certain, and more so after longer pauses.
# [A study](../../experiments/memory/README.md) has longer pauses and more networks.
#
# From a length of 1,024 to 4,096, the memory of attention grows by a factor of 16, and the memory of linear attention
# by a factor of about 4.
