# %% [markdown]
# # 1. Joints and orders
#
# A joint distribution is a product of conditionals, in any order:
# $p(A, B, C) = p(A) \, p(B \mid A) \, p(C \mid A, B) = p(C) \, p(A \mid C) \, p(B \mid A, C)$.

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np

import arjax

# %% [markdown]
# ## The chain rule, written out
# A table over three bits. The product of the conditionals is the table again, in each of the six orders.

# %%
joint = np.random.default_rng(0).dirichlet(np.ones(8)).reshape(2, 2, 2)


def product_of_conditionals(joint, order):
    """p(x) as the product over t of p(x_t | x of the sites before t in the order)."""
    product = np.ones_like(joint)
    for t, site in enumerate(order):
        later = tuple(order[t + 1 :])
        marginal = joint.sum(later, keepdims=True)
        product = product * marginal / marginal.sum(site, keepdims=True)
    return product


for order in itertools.permutations(range(3)):
    assert np.allclose(product_of_conditionals(joint, order), joint)

# %% [markdown]
# ## A network has to learn the conditionals, and some are harder than others
# Five bits, of which the last is the parity of the others. The first four conditionals are coins; the last one is a
# parity, which a linear model cannot learn.

# %%
x = np.random.default_rng(1).integers(0, 2, (600, 5))
x[:, 4] = x[:, :4].sum(1) % 2
event = arjax.EventSpec((5,))
model = arjax.make_model(event, "made", hidden_sizes=(64,))
fitted = arjax.fit_arrays(model, train=x[:400], validation=x[400:], steps=300, learning_rate=0.01, quiet=True)
print(f"{fitted.results['nll_nats']:.3f} nats; the entropy of the data is 4 log 2 = {4 * np.log(2):.3f}")

# %%
conditionals = fitted.conditionals(x[:200])
fig, axis = plt.subplots(figsize=(5, 3))
axis.bar(np.arange(5) + 1, conditionals.entropy.mean(0))
axis.set(xlabel="site", ylabel="entropy of the conditional (nats)", title="The parity is known once the others are")
plt.show()

# %% [markdown]
# ## Orders of an image
# The same network, the same steps; the orders of the digits' pixels differ.

# %%
digits = arjax.make_dataset("digits")
nats, errors, orders = [], [], ("raster", "spiral", "hilbert", "random(seed=1)")
for order in orders:
    model = arjax.make_model(digits.event, "made", ordering=order, hidden_sizes=(128,))
    scored = arjax.fit_arrays(model, train=digits, steps=300, batch_size=100, quiet=True)
    nats.append(scored.results["nll_nats"])
    errors.append(scored.results["nll_stderr"])

fig, axis = plt.subplots(figsize=(5, 2.5))
axis.errorbar(nats, orders, xerr=errors, fmt="o")
axis.set(xlabel="test nats (± standard error)")
plt.show()
