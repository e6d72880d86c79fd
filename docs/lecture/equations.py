# %% [markdown]
# # The equations of the lecture
#
# Each slide as a few lines of numpy. `tests/docs/test_equations.py` asserts that arjax computes the same numbers.
# Sites are drawn in an `order`, an array of site numbers; `x` is one example with D sites, of V values each.

# %%
import math

import numpy as np


def sigmoid(a):
    """1 / (1 + exp(-a))."""
    return 1 / (1 + np.exp(-a))


def log_softmax(logits_V):
    """log p of each value."""
    return logits_V - np.log(np.exp(logits_V - logits_V.max()).sum()) - logits_V.max()


# %% [markdown]
# ## Joints and orders
# $\log p(x) = \sum_t \log p(x_t \mid x_{<t})$ holds in any order, and for blocks of sites in place of sites.


# %%
def chain_rule(conditional, x, order):
    """log p(x): the sum over t of log p(x_t | values of the sites visited before)."""
    return sum(conditional(site, x, order[:t])[x[site]] for t, site in enumerate(order))


def mixture_of_orders(conditional, x, orders):
    """log of the mean of p(x) over orders: one model of its own. The mean of log p(x) is a bound on it."""
    each = np.array([chain_rule(conditional, x, order) for order in orders])
    return each.max() + math.log(np.exp(each - each.max()).mean())


def bits_per_dim(log_prob, num_sites):
    """Nats as bits for each site."""
    return -log_prob / (num_sites * math.log(2))


# %% [markdown]
# ## Networks
# Networks for D bits return the logits of p(x_t = 1 | earlier sites), with weights for each conditional or shared ones.


# %%
def fvsbn(W_DD, b_D, x, order):
    """One logistic regression for each site: row d of W reads the sites before d in the order."""
    logits = np.array(b_D, float)
    for t, site in enumerate(order):
        logits[site] += sum(W_DD[site, before] * x[before] for before in order[:t])
    return logits


def nade(W_DU, c_U, V_DU, b_D, x, order):
    """Shared hidden units: a = c + the rows of W of the ones seen so far (Larochelle & Murray 2011)."""
    a, logits = c_U, np.zeros(len(x))
    for site in order:
        logits[site] = b_D[site] + V_DU[site] @ sigmoid(a)
        a = a + W_DU[site] * x[site]
    return logits


def made_masks(rank_D, degrees_U):
    """Which inputs a hidden unit reads, [D, U], and which units an output reads, [U, D] (Germain et al. 2015)."""
    return rank_D[:, None] <= degrees_U[None], degrees_U[:, None] < rank_D[None]


def rnn(W_hh, W_xh, b, x_TE):
    """h_t = tanh(W_hh h_t-1 + W_xh x_t + b)."""
    h, states = np.zeros(len(b)), []
    for x in x_TE:
        h = np.tanh(W_hh @ h + W_xh @ x + b)
        states.append(h)
    return np.array(states)


def lstm(W, U, b, x_TE):
    """Gates f, i, o and the candidate g; cell c_t = f c_t-1 + i g, state h_t = o tanh(c_t)."""
    h = c = np.zeros(len(b) // 4)
    states = []
    for x in x_TE:
        f, i, o, g = np.split(W @ x + U @ h + b, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states.append(h)
    return np.array(states)


def causal_conv(W_KFE, b_F, x_TE, dilation=1):
    """y_t = b + sum over k of W_k x_(t - k dilation): padding on the left alone keeps it causal."""
    y_TF = np.tile(b_F, (len(x_TE), 1))
    for t in range(len(x_TE)):
        for k, W_FE in enumerate(W_KFE):
            if t - k * dilation >= 0:
                y_TF[t] += W_FE @ x_TE[t - k * dilation]
    return y_TF


def receptive_field(kernel_size, dilations):
    """How many inputs the last output of stacked causal convolutions reads."""
    return 1 + (kernel_size - 1) * sum(dilations)


def causal_attention(q_TH, k_TH, v_TH):
    """softmax(q_t k_s / sqrt(H)) over s <= t, times v_s."""
    y_TH = np.zeros_like(v_TH)
    for t in range(len(q_TH)):
        scores = k_TH[: t + 1] @ q_TH[t] / math.sqrt(q_TH.shape[1])
        y_TH[t] = np.exp(log_softmax(scores)) @ v_TH[: t + 1]
    return y_TH


def linear_attention(q_TH, k_TH, v_TH):
    """The same with elu(.) + 1 in place of exp(q k): a sum of fixed size that grows (Katharopoulos et al. 2020)."""
    q_TH, k_TH = (np.where(a > 0, a + 1, np.exp(np.minimum(a, 0))) for a in (q_TH, k_TH))
    S, z, rows = 0.0, 0.0, []
    for q, k, v in zip(q_TH, k_TH, v_TH, strict=True):
        S, z = S + np.outer(k, v), z + k
        rows.append(q @ S / (q @ z))
    return np.array(rows)


# %% [markdown]
# ## Training and sampling
# Teacher forcing scores all conditionals on real prefixes. A sample is read by the network that drew it.


# %%
def teacher_forcing(logits, x_BD):
    """The loss: the mean over examples of -sum_t log p(x_t | real x_<t), here for bits."""
    log_p_BD = -np.log1p(np.exp(np.where(x_BD == 1, -1, 1) * np.stack([logits(x) for x in x_BD])))
    return -log_p_BD.sum(1).mean()


def score_function(log_prob_grads, rewards):
    """Training on own samples: grad E[r(x)] = E[(r(x) - mean of the other rewards) grad log p(x)]."""
    others = (rewards.sum() - rewards) / (len(rewards) - 1)
    return np.mean((rewards - others)[:, None] * log_prob_grads, axis=0)


def ancestral_sampling(conditional, num_sites, order, rng):
    """Draws x_t from p(x_t | drawn x_<t), one site after another."""
    x = np.zeros(num_sites, int)
    for t, site in enumerate(order):
        p_V = np.exp(conditional(site, x, order[:t]))
        x[site] = rng.choice(len(p_V), p=p_V / p_V.sum())
    return x


def importance_bound(log_joint_K, log_posterior_K):
    """Latent variables: log of the mean of p(x, z) / q(z | x) over K draws of q, a bound on log p(x) on average; the
    ELBO for K = 1 (Burda et al. 2016).
    """
    log_w_K = log_joint_K - log_posterior_K
    return log_w_K.max() + math.log(np.exp(log_w_K - log_w_K.max()).mean())
