"""Several objectives at once: the weighted sum of their losses."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import optax

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse
from arjax.core.options import opt
from arjax.models.base import Model, Params
from arjax.objectives.base import OBJECTIVES, Companions, Loss, Mean, Objective, ObjectiveState, Step, make_objective


@OBJECTIVES.register("weighted")
@dataclasses.dataclass(frozen=True)
class Weighted(Objective[Model]):
    """loss = sum_i w_i loss_i, of objectives with their own parameters and states: `weighted(of=('teacher_forcing',
    'rollout(length=8)'), weights=(0.5, 0.5))`.

    `nll` is that of the first objective; the numbers that the i-th one reports are named `i/NAME`.
    """

    of: tuple[str, ...] = opt(("teacher_forcing",), fewest=1)
    weights: tuple[float, ...] = opt((1.0,), above=0)

    def __post_init__(self):
        if len(self.of) != len(self.weights):
            raise UserError(f"weighted needs as many weights as objectives, not {len(self.weights)} for {len(self.of)}")
        names = [name for part in self.parts for name in part.companions()]
        refuse((len(set(names)) < len(names), "only one of the objectives of weighted may read the true conditionals"))

    @property
    def parts(self) -> tuple[Objective, ...]:
        return tuple(make_objective(text) for text in self.of)

    @property
    def traits(self) -> frozenset[str]:  # type: ignore[override]  # a constant in other objectives
        of_parts = [part.traits for part in self.parts]
        needs = frozenset[str]().union(*of_parts) & {"needs_orders", "draws"}
        return needs | frozenset.intersection(*of_parts) & {"holes"} | of_parts[0] & {"of_tokens"}

    @property
    def score_of_draws(self) -> Callable[..., dict[str, jax.Array]] | None:
        return self.parts[0].score_of_draws

    def check(self, model: Model) -> None:
        for part in self.parts:
            part.check(model)
        if len({part.frozen(model) for part in self.parts}) > 1:
            raise UserError(
                f"one of the objectives {', '.join(self.of)} leaves parameters as they are that another one trains: "
                "they cannot be added (tokenizer(rate=1) trains a tokenizer and its prior)"
            )

    def companions(self) -> Mapping[str, str]:
        return {name: workdir for part in self.parts for name, workdir in part.companions().items()}

    def check_companions(self, model: Model, companions: Companions) -> None:
        for part in self.parts:
            part.check_companions(model, companions)

    def init(self, model: Model, key: jax.Array) -> ObjectiveState:
        auxes = [part.init(model, jax.random.fold_in(key, i)) for i, part in enumerate(self.parts)]
        return ObjectiveState(_numbered(aux.params for aux in auxes), _numbered(aux.state for aux in auxes))

    def frozen(self, model: Model) -> tuple[str, ...]:
        return self.parts[0].frozen(model)

    def start(self, model: Model, params: Params) -> Params:
        for part in self.parts:
            params = part.start(model, params)
        return params

    def optimizer(self) -> optax.GradientTransformation:
        rules = {}
        for i, part in enumerate(self.parts):
            with contextlib.suppress(NotImplementedError):  # of those without parameters of their own
                rules[str(i)] = part.optimizer()

        def labels(params: Any) -> dict[str, str]:
            # optax.tree_utils.tree_map_params asks for a state without parameters
            return {number: number for number in params} if isinstance(params, Mapping) else {}

        return optax.partition(rules, labels)

    def report(self, aux: ObjectiveState) -> Mapping[str, Any]:
        """All their entries; a name that an objective before has taken is named `i/NAME`."""
        report: dict[str, Any] = {}
        for i, part in enumerate(self.parts):
            entries = part.report(_of(aux, i))
            report |= {f"{i}/{name}" if name in report else name: entry for name, entry in entries.items()}
        return report

    def after_step(self, model: Model, params: Params, state: Any) -> tuple[Params, Any]:
        states = []
        for i, part in enumerate(self.parts):
            params, after = part.after_step(model, params, state.get(str(i), {}))
            states.append(after)
        return params, _numbered(states)

    def loss(self, model: Model, params: Params, aux: ObjectiveState, batch: Batch, step: Step) -> Loss:
        losses = []
        for i, part in enumerate(self.parts):
            key = jax.random.fold_in(step.key, i) if i else step.key
            losses.append(part.loss(model, params, _of(aux, i), batch, dataclasses.replace(step, key=key)))
        pairs = list(zip(self.weights, losses, strict=True))
        terms = tuple(Mean(weight * term.total, term.count) for weight, loss in pairs for term in loss.terms)
        means = {f"{i}/{name}": mean for i, loss in enumerate(losses) for name, mean in loss.metrics.means.items()}
        metrics = dataclasses.replace(losses[0].metrics, means=means)
        return Loss(terms, metrics, _numbered(loss.state for loss in losses))


def _numbered(trees: Iterable[Any]) -> dict[str, Any]:
    return {str(i): tree for i, tree in enumerate(trees) if jax.tree.leaves(tree)}


def _of(aux: ObjectiveState, i: int) -> ObjectiveState:
    return ObjectiveState(aux.params.get(str(i), {}), aux.state.get(str(i), {}))
