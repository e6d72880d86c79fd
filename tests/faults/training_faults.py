"""Faults of objectives, of the train step and of populations."""

from __future__ import annotations

from fault import Fault

_CONTRACT = "training/test_objective_contract.py::"
_POPULATION = "population/test_population.py::"
_ROW = "sweep/test_population.py::test_a_row_is_what_arjax_would_have_made_of_it"

TRAINING_FAULTS = (
    Fault(
        "all terms of an accumulated loss are divided by the count of the first",
        "training/step.py",
        "lambda g, c=term.divisor: g / c",
        "lambda g, c=terms[0].divisor: g / c",
        (_CONTRACT + "test_accumulated_gradients_are_those_of_the_larger_batch",),
    ),
    Fault(
        "micro-batches of neighbouring rows, which move between devices",
        "training/step.py",
        "jnp.moveaxis(rows.reshape(len(rows) // num, num, *rows.shape[1:]), 1, 0)",
        "rows.reshape(num, len(rows) // num, *rows.shape[1:])",
        (_CONTRACT + "test_accumulated_gradients_on_a_mesh_move_no_rows",),
        slow=True,
    ),
    Fault(
        "the state of an objective stays what it was",
        "training/step.py",
        "return ObjectiveTrainState(optax.apply_updates(own.params, updates), state, opt_state)",
        "return ObjectiveTrainState(optax.apply_updates(own.params, updates), own.state, opt_state)",
        (_CONTRACT + "test_it_is_trained_with_the_model_and_reports",),
    ),
    Fault(
        "progress that is one step ahead",
        "training/step.py",
        "state.step.astype(jnp.float32) / recipe.total_steps",
        "(state.step + 1).astype(jnp.float32) / recipe.total_steps",
        (_CONTRACT + "test_it_is_trained_with_the_model_and_reports",),
    ),
    Fault(
        "the average of a run that starts from another one starts elsewhere",
        "training/state.py",
        "average = jax.tree.map(jnp.copy, params) if",
        "average = jax.tree.map(jnp.zeros_like, params) if",
        ("training/test_init_from.py::test_the_first_parameters_are_the_best_ones_of_the_run",),
    ),
    Fault(
        "a member of a population that is out of patience goes on",
        "training/history.py",
        "(values < self.best_value) & ~self.stopped(patience)",
        "(values < self.best_value)",
        (_POPULATION + "test_a_member_out_of_patience_keeps_what_it_has",),
        slow=True,
    ),
    Fault(
        "all members keep the parameters of the best one",
        "population/train.py",
        "best=_chosen(jnp.asarray(better), ",
        "best=_chosen(jnp.asarray(better) | better.any(), ",
        (_POPULATION + "test_a_member_out_of_patience_keeps_what_it_has",),
        slow=True,
    ),
    Fault(
        "an order is compared with the mean of all, itself among them",
        "objectives/learned_order.py",
        "leave_one_out(nats_R)",
        "nats_R.mean()",
        ("population/test_search.py::test_the_policy_gradient_is_right_on_average",),
    ),
    Fault(
        "every seed of a population is scored on the draws of the first one",
        "evaluation/splits.py",
        "jax.vmap(jax.random.fold_in, (0, None))(key, i)",
        "jax.vmap(jax.random.fold_in, (0, None))(jnp.broadcast_to(key[:1], key.shape), i)",
        (_ROW,),
        slow=True,
    ),
    Fault(
        "a row of a sweep gets the parameters of the first member",
        "population/train.py",
        "leaf[o, s], scores.params",
        "leaf[0, 0], scores.params",
        (_ROW,),
        slow=True,
    ),
    Fault(
        "the weights of a mixture are fitted on the split that is scored",
        "sweep/derived.py",
        "FIND[self.weights](validation_MN)",
        "FIND[self.weights](nll_MN)",
        ("sweep/test_population_mixtures.py::test_means_and_mixtures_are_rows_whoever_trained_their_runs",),
        slow=True,
    ),
    Fault(
        "one key for all micro-batches",
        "training/step.py",
        "own_step = Step(jax.random.fold_in(step.key, k), step.progress, step.companions)",
        "own_step = Step(step.key, step.progress, step.companions)",
        ("training/test_objective_contract.py::test_every_micro_batch_has_a_key_of_its_own",),
    ),
    Fault(
        "a decay of lion inside of the sign",
        "training/optimizer.py",
        "return [optax.scale_by_lion(b1, b2), *decay(weight_decay, decay_pattern)]",
        "return [*decay(weight_decay, decay_pattern), optax.scale_by_lion(b1, b2)]",
        ("training/test_step_equations.py::test_adam_and_lion_are_their_equations",),
    ),
    Fault(
        "a report of today without the entries about the training",
        "api/trained_model.py",
        ".scores | self._entries()",
        ".scores",
        ("evaluation/test_reports.py::test_a_training_on_arrays_reports_as_a_run_does",),
    ),
    Fault(
        "a report without the bound of k samples",
        "evaluation/report.py",
        "if measures.samples:",
        "if measures.samples < 0:",
        ("evaluation/test_reports.py::test_other_numbers_are_asked_for_by_the_fields_of_the_section_evaluate",),
    ),
    Fault(
        "a member of a population that is evaluated forgets its training",
        "training/results.py",
        "for name in (*OF_TRAINING, *objective.report(objective_state))",
        "for name in objective.report(objective_state)",
        (_ROW,),
        slow=True,
    ),
)
