# %% [markdown]
# # 4. Sampling
#
# Ancestral sampling draws $x_1$, then $x_2$ given $x_1$, and so on. Training needs one pass, sampling one pass for each
# step.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import arjax

digits = arjax.make_dataset("digits")
model = arjax.make_model(digits.event, "causal_conv")
fitted = arjax.fit_arrays(model, train=digits, steps=300, batch_size=50, learning_rate=2e-3, quiet=True)
fitted.plot_samples()

# %% [markdown]
# ## Naive and cached
# A naive sampler computes all positions at each step and uses one. A cached one keeps a state, queue or key-value
# cache. Both draw the same values from the same keys.

# %%
seconds = {}
for sampler in ("naive", "cached"):
    draws = fitted.sample(16, seed=0, sampler=sampler)  # compiles
    start = time.perf_counter()
    draws = fitted.sample(16, seed=0, sampler=sampler)
    seconds[sampler] = time.perf_counter() - start
    if sampler == "naive":
        first = draws
assert (first == draws).all()
print({name: f"{value:.3f} s" for name, value in seconds.items()})

# %% [markdown]
# ## Temperature
# Lower temperatures give more probable samples, and fewer different ones.

# %%
temperatures = (0.3, 0.7, 1.0)
samples = {t: fitted.sample(32, seed=1, temperature=t) for t in temperatures}
fig, axis = plt.subplots(figsize=(5, 3))
axis.boxplot([fitted.log_prob(samples[t]) for t in temperatures])
axis.set_xticks([1, 2, 3], [str(t) for t in temperatures])
axis.set(xlabel="temperature", ylabel="log p of the samples (nats)")
plt.show()

# %% [markdown]
# ## The rest of an image, given its beginning
# Raster order can be given the upper half. The lower half is drawn from the exact conditional.

# %%
real = digits.splits["test"].arrays.x[:4]
upper = np.arange(8)[:, None] < 4
fig, axes = plt.subplots(4, 5, figsize=(5, 4))
for row, image in zip(axes, real, strict=True):
    drawn = fitted.sample(4, seed=2, given=image, observed=np.broadcast_to(upper, (8, 8)))
    assert (drawn[:, :4] == image[:4]).all()
    for axis, picture in zip(row, [image, *drawn], strict=True):
        axis.imshow(picture, cmap="gray", vmin=0, vmax=16)
        axis.axis("off")
plt.show()

# %% [markdown]
# ## Where the uncertainty is

# %%
fitted.plot_entropy()

# %% [markdown]
# ## A page that plays
# A network for any set of observed pixels answers every question in one pass. The cell shows it as a page, the same
# HTML file that `arjax --mode=page` writes: [set pixels, and watch the others](../page.md). The browser computes the
# network.

# %%
any_order = arjax.make_model(digits.event, "deep_nade", orders="uniform", hidden_sizes=(48, 48))
options = {"steps": 1000, "batch_size": 50, "learning_rate": 3e-3, "ema_decay": 0.99, "quiet": True}
played = arjax.fit_arrays(any_order, train=digits, objective="order_agnostic", **options)
played.page()
