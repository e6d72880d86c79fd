"""Mixtures of Gaussians with full covariances: any values of an example given any others, in closed form.

p(x) = sum_k w_k N(x; m_k, S_k) (McLachlan & Peel, "Finite Mixture Models", 2000, chapter 3). Training begins where EM
of scikit-learn ends (Dempster, Laird & Rubin, "Maximum Likelihood from Incomplete Data via the EM Algorithm", 1977).
Given some values x_o, the others are a mixture of Gaussians, too (Bishop, "Pattern Recognition and Machine Learning",
2006, equations 2.81, 2.82 and 9.39): w_k(x_o) is proportional to w_k N(x_o; m_k, S_k), and within a component

    x_u ~ N(m_u + S_uo S_oo^-1 (x_o - m_o), S_uu - S_uo S_oo^-1 S_ou).

A covariance is S = L L^T + s^2 I with L lower triangular, so no direction has a standard deviation below s. It is never
computed, because its condition number is too large for float32. In place of it, a QR decomposition of [L, s I]^T with
its columns in the order "observed values first" gives the Cholesky factor C of S in that order (Golub & Van Loan,
"Matrix Computations", 2013, section 5.3). With x = m + C e, the noise e_o follows from x_o by a triangular solve, and
gives log p(x_o); C_uo e_o is the shift of the conditional mean, and C_uu the factor of the conditional covariance.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, ClassVar, NamedTuple, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np

from arjax.conditionals.numerics import log_scale_floor, tempered
from arjax.core.arrays import is_present, is_traced
from arjax.core.batch import Batch, Score
from arjax.core.errors import UserError, refuse
from arjax.core.options import LARGEST_SEED, opt
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.core.triangular import solve_lower
from arjax.models import extras
from arjax.models.base import Model, Params
from arjax.models.checks import check_init, check_query, checked_batch, public
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe
from arjax.samplers import Draw, Request, Sampler

#: A diagonal entry of L is at least this part of the floor s where EM gives a smaller one, for its logarithm.
_LEAST_DIAGONAL = 1e-2
#: Scalars of the factors that rows with missing values have in memory at once.
_MOST_SCALARS = 2**22


class _Given(NamedTuple):
    """One example given its observed values: x = means[k] + roots[k] e, with the noise e of the other values."""

    log_weights: jax.Array  # log w_k + log N(x_o; m_k, S_k), [K]
    means: jax.Array  # the observed values, and the conditional means of the others, [K, D]
    roots: jax.Array  # [K, D, D]; the rows of observed values are 0


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingRows:
    """Training examples float[N, D], compared by identity."""

    x_ND: np.ndarray


@KINDS.register("gaussian_mixture")
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class GaussianMixtureModel(Model):
    """Gaussians with full covariances, mixed: p(x) = sum_k w_k N(x; m_k, S_k) of D real values. Exact.

    A value that is NaN is missing: the score of an example is the log density of its other values. Vectors of sites are
    flattened. A start by EM needs training `examples`, and a model out of a file has none.

    Attributes:
      min_log_scale: log s, in units of the values that the model sees: standardised ones where a data set does so.
      start: "em", or "random": means from N(0, I), with unit covariances.
      em_starts, em_iterations: runs of EM, of which the best on the training examples is kept, and their most steps.
      em_seed: of the starts of EM; -1: the key of `init` chooses them.
    """

    event: EventSpec = dataclasses.field(metadata={"static": True})
    components: int = dataclasses.field(metadata={"static": True})
    min_log_scale: float = dataclasses.field(metadata={"static": True})
    start: str = dataclasses.field(metadata={"static": True})
    em_starts: int = dataclasses.field(metadata={"static": True})
    em_iterations: int = dataclasses.field(metadata={"static": True})
    em_seed: int = dataclasses.field(metadata={"static": True})
    examples: TrainingRows | None = dataclasses.field(default=None, metadata={"static": True})

    score_kind, context_spec, traits = "exact", NO_CONTEXT, frozenset({"queries", "holes"})
    takes: ClassVar[frozenset[str]] = frozenset({"temperature", "given", "observed"})
    EXAMPLES = {
        "real": Example(
            ModelChoice("gaussian_mixture", {"components": 3, "start": "random", "min_log_scale": -3.0}),
            EventSpec((2,), (2,), "real"),
        )
    }

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        *,
        components: int = 10,
        min_log_scale: float = log_scale_floor(),
        start: str = opt("em", choices=("em", "random")),
        em_starts: int = 1,
        em_iterations: int = 100,
        em_seed: int = opt(-1, least=-1, most=LARGEST_SEED),
    ) -> GaussianMixtureModel:
        """Returns the model; the options are its fields, and a start by EM needs training examples."""
        recipe.only()
        refuse((recipe.context, "the kind of model 'gaussian_mixture' has no context: leave it out of the data"))
        recipe.event.check_kind(("real",), "the kind of model 'gaussian_mixture' is for real values")
        options = components, min_log_scale, start, em_starts, em_iterations, em_seed
        model = cls(recipe.event, *options)
        if start == "random" or recipe.arrays is not None:
            return model
        refuse((recipe.examples is None, f"EM needs training examples: {_NO_EXAMPLES}"))
        x = recipe.all_examples()
        few = f"EM of {components} components needs as many training examples, and there are {len(x)}"
        refuse((len(x) < components, few))
        return dataclasses.replace(model, examples=TrainingRows(x.reshape(len(x), -1)))

    def __repr__(self) -> str:
        parts = extras.model_in_words(self), f"{self.num_params:,} parameters", self.event.in_words
        return f"GaussianMixtureModel({'; '.join(parts)})"

    def init(self, key: jax.Array) -> Params:
        """Returns {"weights": log w_k up to a constant, [K], "means": [K, D], "roots": L_k, [K, D (D + 1) / 2]}, where
        L_k stands row by row with the logarithms of the diagonal. EM runs on the host.
        """
        check_init(self, key)
        k, d = self.components, self.event.num_dims
        shapes = {"weights": (k,), "means": (k, d), "roots": (k, d * (d + 1) // 2)}
        if self.start == "random":
            params = {name: jnp.zeros(shape) for name, shape in shapes.items()}
            return params | {"means": jax.random.normal(key, (k, d))}
        if not is_traced(key):
            self._em_examples()
        arrays = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
        return jax.pure_callback(self._em, arrays, jax.random.bits(key), vmap_method="sequential")

    def _em_examples(self) -> np.ndarray:
        if self.examples is None:
            raise UserError(f"EM needs training examples, and a model from a file holds none: {_NO_EXAMPLES}")
        return self.examples.x_ND

    def _em(self, seed: jax.Array) -> dict[str, np.ndarray]:
        """Returns the parameters at which EM ends."""
        number, variance = int(seed) if self.em_seed < 0 else self.em_seed, math.exp(2 * self.min_log_scale)
        x_ND = without_holes(self._em_examples(), 10 * self.components, number)
        fit = fit_by_em(x_ND, self.components, variance, self.em_starts, self.em_iterations, number)
        return gaussian_params(fit.weights_, fit.means_, fit.covariances_, self.min_log_scale)

    def roots(self, params: Params) -> jax.Array:
        """Returns L_k, lower triangular with a positive diagonal, float32[K, D, D]."""
        d = self.event.num_dims
        rows, columns = np.tril_indices(d)
        is_diagonal = rows == columns
        scales = jnp.exp(jnp.where(is_diagonal, params["roots"], 0))  # exp of a large entry elsewhere: a NaN gradient
        entries = jnp.where(is_diagonal, scales, params["roots"])
        return jnp.zeros((self.components, d, d)).at[:, rows, columns].set(entries)

    def _given(self, params: Params, x_D: jax.Array, observed_D: jax.Array) -> _Given:
        """One example given some of its values; see the head of this file. Values elsewhere have no influence."""
        order_D = jnp.argsort(~observed_D, stable=True)
        is_first_D, back_D = observed_D[order_D], jnp.argsort(order_D)
        floor_KDD = jnp.broadcast_to(
            math.exp(self.min_log_scale) * jnp.eye(len(x_D)), (self.components, len(x_D), len(x_D))
        )
        stacked = jnp.concatenate([self.roots(params).mT, floor_KDD], axis=1)
        cholesky_KDD = jnp.linalg.qr(stacked[..., order_D], mode="r").mT
        off_KD = jnp.where(observed_D, jnp.where(observed_D, x_D, 0) - params["means"], 0)[:, order_D]
        noise_KD = jnp.where(is_first_D, solve_lower(cholesky_KDD, off_KD[..., None])[..., 0], 0)
        log_scale_KD = jnp.log(jnp.abs(jnp.diagonal(cholesky_KDD, axis1=1, axis2=2)))
        nats_KD = jnp.where(is_first_D, 0.5 * noise_KD**2 + log_scale_KD + 0.5 * math.log(2 * math.pi), 0)
        shift_KD = (cholesky_KDD @ noise_KD[..., None])[..., 0]
        return _Given(
            jax.nn.log_softmax(params["weights"]) - nats_KD.sum(-1),
            jnp.where(observed_D, x_D, params["means"] + shift_KD[:, back_D]),
            jnp.where(is_first_D, 0, cholesky_KDD)[:, back_D],
        )

    def _whole_sites(self, x: Any) -> jax.Array:
        """Examples as float32[N, D], with NaN at all scalars of a site where one is missing: its value is missing."""
        return self._without(x.reshape(len(x), -1), ~is_present(x, len(self.event.value_shape)))

    def _without(self, x_ND: jax.Array, marks: Any) -> jax.Array:
        """Returns rows with NaN in place of the values of marked sites, [N, *grid]."""
        marked_ND = jnp.repeat(jnp.asarray(marks).reshape(len(x_ND), -1) > 0, self.event.value_size, axis=1)
        return jnp.where(marked_ND, jnp.nan, x_ND)

    def _dims(self, sites: np.ndarray) -> jax.Array:
        """Returns the scalars bool[D] of sites bool[*grid]."""
        return jnp.asarray(np.repeat(sites.ravel(), self.event.value_size))

    def score(self, params: Params, batch: Batch, *, key: jax.Array | None = None, train: bool = False) -> Score:
        """log p(x) of the present values in nats, float32[B]; with a mask, of the marked sites given the others."""
        x_ND, all_D = self._whole_sites(jnp.asarray(batch.x, jnp.float32)), jnp.ones(self.event.num_dims, bool)
        log_p_N = _log_marginal(self, params, x_ND, all_D)
        if batch.mask is not None:
            log_p_N = log_p_N - _log_marginal(self, params, self._without(x_ND, batch.mask), all_D)
        return Score(log_p_N, self.score_kind)

    @public
    def conditional_log_prob(
        self, params: Params, x: jax.Array, *, query: Any, evidence: Any, context: Any = None, mask: Any = None
    ) -> jax.Array:
        """Returns log p(x[query] | x[evidence]) in nats, float32[B], for any disjoint sets of sites bool[*grid]. NaN is
        a missing value, in either set. The sites of the query that a `mask` [B, *grid] does not mark are evidence.
        """
        query, evidence = check_query(self.event, query, evidence)
        batch = checked_batch(self, params, x, context or None, mask)
        x_ND, both_D, given_D = self._whole_sites(batch.x), self._dims(query | evidence), self._dims(evidence)
        log_both_N = _log_marginal(self, params, x_ND, both_D)
        if batch.mask is None:
            return log_both_N - _log_marginal(self, params, x_ND, given_D)
        rest_ND = jnp.where(given_D, x_ND, self._without(x_ND, batch.mask))
        return log_both_N - _log_marginal(self, params, rest_ND, both_D)

    def draw_examples(self, params: Params, keys: jax.Array, sampler: Sampler, options: Request) -> Draw:
        """Draws a component for each key, given the observed values, then all other values at once. A temperature T
        gives weights proportional to w^(1 / T), and noise of variance T.
        """
        num, event = len(keys), self.event
        x, observed_D = jnp.zeros((num, *event.shape)), jnp.zeros(event.num_dims, bool)
        if options.observed is not None:
            x, observed_D = options.given, self._dims(options.observed)
        drawn = _draw(self, params, keys, x.reshape(num, -1), observed_D, options.temperature)
        ones = jnp.ones(num, jnp.int32)
        return Draw(drawn.reshape(num, *event.shape), {"network_calls": ones, "steps": ones})


extras.model_in_words.register(GaussianMixtureModel, lambda model: f"mixture of {model.components} Gaussians")


def is_gaussian_mixture(model: Model) -> TypeGuard[GaussianMixtureModel]:
    """Returns whether a model is of this kind: its parameters are weights, means and roots."""
    return isinstance(model, GaussianMixtureModel)


_NO_EXAMPLES = "give them to make_model as `data`, or take the option start='random'"


@jax.jit
def _log_marginal(model: GaussianMixtureModel, params: Params, x_ND: jax.Array, counts_D: jax.Array) -> jax.Array:
    """log p of the values that count and are not missing, float32[N]; all rows at once where none is missing."""

    def one(params: Params, x_D: jax.Array, observed_D: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(model._given(params, x_D, observed_D).log_weights)

    def whole() -> jax.Array:
        return jax.vmap(one, (None, 0, None))(params, x_ND, counts_D)

    @jax.checkpoint  # else the gradient of the other branch would keep arrays for this one
    def with_holes(params: Params, x_ND: jax.Array) -> jax.Array:
        size = max(1, _MOST_SCALARS // (model.components * model.event.num_dims**2))
        rows = x_ND, ~jnp.isnan(x_ND) & counts_D
        return jax.lax.map(lambda row: one(params, *row), rows, batch_size=min(size, len(x_ND)))

    return jax.lax.cond((jnp.isnan(x_ND) & counts_D).any(), lambda: with_holes(params, x_ND), whole)


@jax.jit
def _draw(
    model: GaussianMixtureModel,
    params: Params,
    keys: jax.Array,
    x_ND: jax.Array,
    observed_D: jax.Array,
    temperature: float | jax.Array,
) -> jax.Array:
    """Returns rows with draws in place of the values that are not observed, float32[N, D]."""

    def one(key: jax.Array, x_D: jax.Array) -> jax.Array:
        of_component, of_noise = jax.random.split(key)
        given = model._given(params, x_D, observed_D)
        k = jax.random.categorical(of_component, tempered(given.log_weights, temperature))
        noise_D = jnp.sqrt(temperature) * jax.random.normal(of_noise, x_D.shape)
        return given.means[k] + given.roots[k] @ noise_D

    return jax.vmap(one)(keys, x_ND)


def fit_by_em(
    x_ND: np.ndarray, components: int, variance: float, starts: int = 1, iterations: int = 100, seed: int = 0
) -> Any:
    """Returns scikit-learn's mixture with full covariances, to whose diagonals EM adds `variance` in every step; of
    several starts, the one with the highest likelihood. Raises `ValueError` where a covariance is singular.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    options = {"reg_covar": variance, "n_init": starts if components > 1 else 1, "max_iter": iterations}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop of EM is a model like another
        model = GaussianMixture(components, covariance_type="full", random_state=seed, **options)
        return model.fit(np.asarray(x_ND, np.float64))


def without_holes(x_ND: np.ndarray, enough: int, seed: int) -> np.ndarray:
    """Returns the rows without missing values where these are enough; else all rows, with missing values replaced by
    values drawn from the same column, or by 0 in a column without values.
    """
    missing_ND = np.isnan(x_ND)
    if not missing_ND.any():
        return x_ND
    complete_N = ~missing_ND.any(1)
    if complete_N.sum() >= enough:
        return x_ND[complete_N]
    filled_ND, rng = x_ND.copy(), np.random.default_rng(seed)
    for column_N, missing_N in zip(filled_ND.T, missing_ND.T, strict=True):
        there = column_N[~missing_N]
        column_N[missing_N] = rng.choice(there, missing_N.sum()) if len(there) else 0
    return filled_ND


def gaussians(params: Params, min_log_scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log w [K], means [K, D] and covariances [K, D, D], float64: float32 would lose their small eigenvalues."""
    logits, means_KD, entries_KE = (np.asarray(params[name], np.float64) for name in ("weights", "means", "roots"))
    rows, columns = np.tril_indices(means_KD.shape[1])
    is_diagonal = rows == columns
    root_KDD = np.zeros((*means_KD.shape, means_KD.shape[1]))
    root_KDD[:, rows, columns] = np.where(is_diagonal, np.exp(np.where(is_diagonal, entries_KE, 0)), entries_KE)
    floor_DD = math.exp(2 * min_log_scale) * np.eye(means_KD.shape[1])
    return logits - np.logaddexp.reduce(logits), means_KD, root_KDD @ np.swapaxes(root_KDD, 1, 2) + floor_DD


def gaussian_params(
    weights_K: np.ndarray, means_KD: np.ndarray, covariances_KDD: np.ndarray, min_log_scale: float
) -> dict[str, np.ndarray]:
    """Returns the parameters of this mixture, where eigenvalues of covariances become at least exp(2 min_log_scale)."""
    num_dims, least = means_KD.shape[1], math.exp(min_log_scale)
    eigenvalues_KD, vectors_KDD = np.linalg.eigh(covariances_KDD)
    scales_KD = np.sqrt(np.maximum(eigenvalues_KD - least**2, 0))
    root_KDD = np.swapaxes(np.linalg.qr(scales_KD[..., None] * np.swapaxes(vectors_KDD, 1, 2), mode="r"), 1, 2)
    diagonal_KD = np.diagonal(root_KDD, axis1=1, axis2=2)
    root_KDD = root_KDD * np.where(diagonal_KD < 0, -1, 1)[:, None]
    rows, columns = np.tril_indices(num_dims)
    entries = root_KDD[:, rows, columns]
    log_diagonal = np.log(np.maximum(entries, _LEAST_DIAGONAL * least))
    roots = np.where(rows == columns, log_diagonal, entries)
    params = {"weights": np.log(weights_K), "means": means_KD, "roots": roots}
    return {name: values.astype(np.float32) for name, values in params.items()}
