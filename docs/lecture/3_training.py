# %% [markdown]
# # 3. Training
#
# The loss is the negative log-likelihood: the sum of the losses of all conditionals, each given the real past
# (teacher forcing). One parallel pass gives all of them.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import arjax

digits = arjax.make_dataset("digits")

# %% [markdown]
# ## One step by hand

# %%
model = arjax.make_model(digits.event, "made", hidden_sizes=(128,))
params = model.init(jax.random.key(0))
x = digits.splits["train"].arrays.x[:50]
loss = jax.jit(jax.value_and_grad(lambda params: -model.log_prob(params, x).mean()))
nats, gradient = loss(params)
smaller = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
print(f"{nats:.2f} nats before a step of gradient descent, {loss(smaller)[0]:.2f} after it")

# %% [markdown]
# ## Overfitting
# A large network and few examples: the training loss keeps falling while the validation loss rises. arjax keeps the
# parameters that were best on validation.

# %%
few = {"x": digits.splits["train"].arrays.x[:300]}
validation = {"x": digits.splits["validation"].arrays.x}
settings = {"steps": 400, "batch_size": 50, "learning_rate": 3e-3, "eval_every": 25, "quiet": True}
large = arjax.make_model(digits.event, "made", hidden_sizes=(512,))
curves = {"plain": arjax.fit_arrays(large, train=few, validation=validation, **settings).history}
dropped = arjax.make_model(digits.event, "made", hidden_sizes=(512,), dropout=0.5)
curves["dropout"] = arjax.fit_arrays(dropped, train=few, validation=validation, **settings).history

fig, axis = plt.subplots(figsize=(6, 3))
for name, history in curves.items():
    (line,) = axis.plot(*history["validation/bits_per_dim"], label=f"{name}, validation")
    axis.plot(*history["train/bits_per_dim"], "--", color=line.get_color(), alpha=0.6, label=f"{name}, training")
axis.set(xlabel="step", ylabel="bits/dim", ylim=(1.5, 4))
axis.legend()
plt.show()

# %% [markdown]
# ## Learning rates
# The best of a few, chosen on validation and not on test.

# %%
best = {}
model = arjax.make_model(digits.event, "made", hidden_sizes=(128,))
for rate in (1e-4, 1e-3, 1e-2):
    history = arjax.fit_arrays(model, train=digits, steps=200, batch_size=50, learning_rate=rate, quiet=True).history
    best[rate] = np.nanmin(history["validation/bits_per_dim"].values)
print({rate: round(float(bits), 3) for rate, bits in best.items()}, "->", min(best, key=best.get))
