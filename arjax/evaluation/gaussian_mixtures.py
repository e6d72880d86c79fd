"""Mixtures of Gaussians with full covariances, fitted by EM: the baseline of densities of real values.

The fit is that of scikit-learn. Its `reg_covar` is added to the diagonal of every covariance, so no eigenvalue of a
covariance is below it, and no scale of a conditional p(x_i | x_<i, component) below its root: the floor of the scales
of a network, `min_log_scale`, is the floor of this model at reg_covar = exp(2 min_log_scale).
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from arjax.core.errors import UserError

COMPONENTS = (1, 2, 3, 5, 8, 12, 20, 30)
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
    """

    components: int
    regularisation: float
    validation_nats: float
    model: Any

    def nats(self, x_ND: np.ndarray) -> np.ndarray:
        """-log p of each row, float64[N], in the units of the rows."""
        return -self.model.score_samples(np.asarray(x_ND, np.float64))

    @property
    def num_params(self) -> int:
        """Free numbers: K - 1 weights, K means and K symmetric covariances."""
        num_columns = self.model.means_.shape[1]
        per_component = num_columns + num_columns * (num_columns + 1) // 2
        return self.components - 1 + self.components * per_component


def fit_gaussian_mixture(
    train_ND: np.ndarray,
    validation_ND: np.ndarray,
    components: Sequence[int] = COMPONENTS,
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
      components: numbers K to try; those above the number of rows are left out.
      min_log_scale: floor of the log-scales; regularisations are exp(2 min_log_scale) and those of
        `REGULARISATIONS` above it.
      inits: runs of EM from different starts, of which the most probable on the train rows is kept.
    """
    train_ND, validation_ND = np.asarray(train_ND, np.float64), np.asarray(validation_ND, np.float64)
    tried = [num for num in components if num <= len(train_ND)]
    if not tried or min(components) < 1:
        some = ", ".join(map(str, components))
        raise UserError(f"numbers of components must be from 1 to the {len(train_ND)} rows to fit, not {some}")
    least = math.exp(2 * min_log_scale)
    fits = [
        fit
        for num in tried
        for regularisation in (least, *(value for value in REGULARISATIONS if value > least))
        if (fit := _fit(train_ND, validation_ND, num, regularisation, inits, seed)) is not None
    ]
    if not fits:
        raise UserError("no mixture of Gaussians has a finite score on validation: raise the floor of the scales")
    return min(fits, key=lambda fit: fit.validation_nats)


def _fit(
    train_ND: np.ndarray, validation_ND: np.ndarray, num: int, regularisation: float, inits: int, seed: int
) -> GaussianMixtureFit | None:
    """One fit; None where a covariance is singular, or the score is not finite."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    options = {"reg_covar": regularisation, "n_init": inits if num > 1 else 1, "max_iter": 300, "random_state": seed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an early stop of EM is a model like another
        try:
            model = GaussianMixture(num, covariance_type="full", **options).fit(train_ND)
        except ValueError as error:
            if "reg_covar" not in str(error):
                raise
            return None
    nats = -float(model.score(validation_ND))
    return GaussianMixtureFit(num, regularisation, nats, model) if math.isfinite(nats) else None
