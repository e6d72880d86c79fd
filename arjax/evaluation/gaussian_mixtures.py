"""Mixtures of Gaussians with full covariances, fitted by EM: the baseline of densities of real values.

The fit is that of scikit-learn. Its `reg_covar` is added to the diagonal of every covariance, so no eigenvalue of a
covariance is below it, and no scale of a conditional p(x_i | x_<i, component) below its root: the floor of the scales
of a network, `min_log_scale`, is the floor of this model at reg_covar = exp(2 min_log_scale).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError
from arjax.models.gaussian_mixture import fit_by_em, params_of

COMPONENTS = (1, 2, 3, 5, 8, 12, 20, 30)
#: Numbers of components above those of `COMPONENTS`, for a search that goes on while validation gains.
MORE_COMPONENTS = (50, 80, 120, 200, 300, 500, 800)
#: Such a search ends where so many numbers in a row have not gained.
PATIENCE = 2
#: The most steps of EM.
ITERATIONS = 300
#: Regularisations above that of the floor, as variances of standardised columns.
REGULARISATIONS = (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1)


@dataclasses.dataclass(frozen=True)
class GaussianMixtureFit:
    """A mixture and the choices that were best on validation.

    Attributes:
      components: K.
      regularisation: `reg_covar`.
      validation_nats: the mean of -log p over the validation rows.
      model: of scikit-learn.
      inits, seed: of EM.
    """

    components: int
    regularisation: float
    validation_nats: float
    model: Any
    inits: int = 1
    seed: int = 0

    def nats(self, x_ND: np.ndarray) -> np.ndarray:
        """-log p of each row, float64[N], in the units of the rows."""
        return -self.model.score_samples(np.asarray(x_ND, np.float64))

    @property
    def options(self) -> dict[str, Any]:
        """Options of the kind of model `gaussian_mixture` whose training goes on from this fit, given the same rows:
        the same EM, and the root of the regularisation as its floor.
        """
        found = {"components": self.components, "min_log_scale": 0.5 * math.log(self.regularisation)}
        return found | {"em_starts": self.inits, "em_iterations": ITERATIONS, "em_seed": self.seed}

    @property
    def params(self) -> dict[str, np.ndarray]:
        """The parameters of a model with these options that has the densities of this fit."""
        found = self.model
        return params_of(found.weights_, found.means_, found.covariances_, self.options["min_log_scale"])

    @property
    def num_params(self) -> int:
        """Free numbers: K - 1 weights, K means and K symmetric covariances."""
        num_columns = self.model.means_.shape[1]
        per_component = num_columns + num_columns * (num_columns + 1) // 2
        return self.components - 1 + self.components * per_component


def fit_gaussian_mixture(
    train_ND: np.ndarray,
    validation_ND: np.ndarray,
    components: Sequence[int] | None = COMPONENTS,
    min_log_scale: float = -7.0,
    *,
    inits: int = 2,
    seed: int = 0,
) -> GaussianMixtureFit:
    """The mixture that is best on validation, of every number of components under every regularisation. Raises
    `UserError`: a number of components below 1, or more than there are rows; no finite score on validation.

    Args:
      train_ND: rows to fit, real values; standardised columns, as the regularisation is the same for all.
      validation_ND: rows by which the two choices are made.
      components: numbers K to try; those above the number of rows are left out. None: those of `COMPONENTS`, and more
        up to where validation stops gaining, each of these under the regularisations next to the best one so far.
      min_log_scale: floor of the log-scales; regularisations are exp(2 min_log_scale) and those of
        `REGULARISATIONS` above it.
      inits: runs of EM from different starts, of which the most probable on the train rows is kept; one for numbers
        above those of `COMPONENTS`.
    """
    train_ND, validation_ND = np.asarray(train_ND, np.float64), np.asarray(validation_ND, np.float64)
    asked = COMPONENTS if components is None else components
    tried = [num for num in asked if num <= len(train_ND)]
    if not tried or min(tried) < 1:
        some = ", ".join(map(str, asked))
        raise UserError(f"numbers of components must be from 1 to the {len(train_ND)} rows to fit, not {some}")
    least = math.exp(2 * min_log_scale)
    regularisations = [least, *(value for value in REGULARISATIONS if value > least)]

    def fitted(num: int, values: Sequence[float], inits: int) -> list[GaussianMixtureFit]:
        found = [_fit(train_ND, validation_ND, num, value, inits, seed) for value in values]
        return [fit for fit in found if fit is not None]

    fits = [fit for num in tried for fit in fitted(num, regularisations, inits)]
    if not fits:
        raise UserError("no mixture of Gaussians has a finite score on validation: raise the floor of the scales")
    best = min(fits, key=_nats)
    for num in () if components is not None else MORE_COMPONENTS:
        if num > len(train_ND) or best.components not in tried[-PATIENCE:]:
            break
        i = regularisations.index(best.regularisation)
        best = min([best, *fitted(num, regularisations[max(0, i - 1) : i + 2], 1)], key=_nats)
        tried.append(num)
    return best


def _nats(fit: GaussianMixtureFit) -> float:
    return fit.validation_nats


def _fit(
    train_ND: np.ndarray, validation_ND: np.ndarray, num: int, regularisation: float, inits: int, seed: int
) -> GaussianMixtureFit | None:
    """One fit; None where a covariance is singular, or the score is not finite."""
    try:
        model = fit_by_em(train_ND, num, regularisation, inits, ITERATIONS, seed)
    except ValueError as error:
        if "reg_covar" not in str(error):
            raise
        return None
    nats = -float(model.score(validation_ND))
    return GaussianMixtureFit(num, regularisation, nats, model, inits, seed) if math.isfinite(nats) else None
