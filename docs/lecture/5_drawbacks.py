# %% [markdown]
# # 5. Drawbacks
#
# Sampling takes as many steps as there are sites; one order answers few conditional questions; errors add up.

# %%
import time

import matplotlib.pyplot as plt
import numpy as np

import arjax

digits = arjax.make_dataset("digits")
training = {"train": digits, "steps": 300, "batch_size": 50, "learning_rate": 2e-3, "quiet": True}

# %% [markdown]
# ## Fewer steps cost likelihood
# Blocks of pixels that are drawn at once, independent given the past: 64, 32, 16 and 8 steps.

# %%
sizes, nats, errors, seconds = (1, 2, 4, 8), [], [], []
for size in sizes:
    model = arjax.make_model(digits.event, "made", partition=f"blocks(size={size})", hidden_sizes=(128,))
    fitted = arjax.fit_arrays(model, **training)
    nats.append(fitted.results["nll_nats"])
    errors.append(fitted.results["nll_stderr"])
    fitted.sample(16)  # compiles
    start = time.perf_counter()
    fitted.sample(16)
    seconds.append(time.perf_counter() - start)
    if size == 1:
        raster = fitted

fig, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.errorbar(sizes, nats, yerr=errors, fmt="o-")
left.set(xlabel="pixels in a block", ylabel="test nats")
right.plot(sizes, seconds, "o-")
right.set(xlabel="pixels in a block", ylabel="seconds for 16 samples", ylim=(0, None))
plt.show()

# %% [markdown]
# ## One order, one direction
# Raster order has p(bottom | top). The opposite question is refused: the observed sites come last.

# %%
image = digits.splits["test"].arrays.x[0]
lower = np.broadcast_to(np.arange(8)[:, None] >= 4, (8, 8))
try:
    raster.sample(4, given=image, observed=lower)
except arjax.UserError as error:
    print(error)

# %% [markdown]
# Another order answers it: `reversed` visits the lower half first.

# %%
backwards = arjax.make_model(digits.event, "made", ordering="reversed", hidden_sizes=(128,))
completed = arjax.fit_arrays(backwards, **training).sample(4, given=image, observed=lower)
assert (completed[:, 4:] == image[4:]).all()

# %% [markdown]
# ## Unlikely beginnings
# Training only ever sees real beginnings. After a wrong one (here the upper half of noise) the model is unsure about a
# rest that is real, and pays for it.

# %%
x = digits.splits["test"].arrays.x
noise = x.copy()
noise[:, :4] = np.random.default_rng(0).integers(0, 17, noise[:, :4].shape)
bottom = {
    name: -raster.conditionals(images).log_prob[:, 4:].sum((1, 2))
    for name, images in {"after the real top": x, "after noise": noise}.items()
}
for name, each in bottom.items():
    print(f"{name}: {each.mean():.1f} ± {each.std() / np.sqrt(len(each)):.1f} nats for the lower half")
assert bottom["after noise"].mean() > bottom["after the real top"].mean()

# %%
fig, axis = plt.subplots(figsize=(5, 3))
axis.hist(list(bottom.values()), bins=20, label=list(bottom))
axis.set(xlabel="nats of the lower half", ylabel="test images")
axis.legend()
plt.show()
