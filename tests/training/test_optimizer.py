"""Rules of descent and schedules: their equations, their options, and the average that schedule-free steps keep."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from loop_helpers import assert_a_stop_changes_no_bit, assert_same_bits, final_state, tiny_config
from optimizers import make_optimizer

from arjax.config import optimizer_config
from arjax.config.build import build
from arjax.config.validate import validate
from arjax.core.batch import Batch
from arjax.core.errors import UserError, say_once
from arjax.objectives import Loss, Mean, Metrics, Objective
from arjax.training.optimizer import DECAYING, OPTIMIZERS, decay, read_rule
from arjax.training.schedule_free import average_of
from arjax.training.schedules import SCHEDULES, make_schedule
from arjax.training.setup import restore_params
from arjax.training.state import TrainState, eval_params, fresh_state
from arjax.training.step import average, train_step

KERNEL = {"kernel": jnp.array([3.0, -4.0])}


def test_schedules_at_their_ends():
    def rates(*steps, **options):
        schedule = make_schedule(0.1, 100, **options)
        return jax.jit(lambda: [schedule(t) for t in steps])()

    np.testing.assert_allclose(rates(0, 99), [0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rates(0, 9, 10, warmup_steps=10), [0.01, 0.1, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rates(0, 50, 100, schedule="linear", end_factor=0.1), [0.1, 0.055, 0.01], rtol=1e-5)
    np.testing.assert_allclose(rates(0, 25, 50, 100, schedule="cosine"), [0.1, 0.0853553, 0.05, 0.0], atol=1e-7)


def test_wsd_is_stable_and_then_falls():
    def rates(*steps, **options):
        schedule = make_schedule(0.1, 110, **{"warmup_steps": 10} | options)
        return jax.jit(lambda: [schedule(t) for t in steps])()

    found = rates(4, 9, 89, 100, 110, schedule="wsd")  # the last 20 of the 100 steps behind the warm-up
    np.testing.assert_allclose(found, [0.05, 0.1, 0.1, 0.05, 0.0], atol=1e-7)
    found = rates(59, 72, 98, 110, schedule="wsd(decay=0.5, shape='1-sqrt')", end_factor=0.2)
    falls = 1 - np.sqrt([0.0, 12 / 50, 38 / 50, 1.0])
    np.testing.assert_allclose(found, 0.1 * (0.2 + 0.8 * falls), rtol=1e-5)
    with pytest.raises(UserError, match="cannot be 'sqrt', did you mean '1-sqrt'"):
        make_schedule(0.1, 10, "wsd(shape='sqrt')")


def test_cautious_decay_is_where_the_update_moves_towards_0(capsys):
    """Chen et al. ("Cautious Weight Decay", 2025), with the updates of Lion, which are signs."""
    kernel, gradient = np.float32([2, -2, 2, -2, 2, 0]), np.float32([1, 1, -1, -1, 0, 1])
    params, gradients = {"kernel": kernel, "bias": kernel}, {"kernel": gradient, "bias": gradient}
    options = {"b1": 0.0, "weight_decay": 0.5, "cautious_decay": True}
    optimizer = make_optimizer("lion", 0.1, 10, **options)
    updates, _ = jax.jit(optimizer.update)(gradients, optimizer.init(params), params)
    decays = np.float32([1, 0, 0, 1, 1, 1])
    np.testing.assert_allclose(updates["kernel"], -0.1 * (np.sign(gradient) + 0.5 * decays * kernel), rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], -0.1 * np.sign(gradient), rtol=1e-6)
    say_once.cache_clear()
    make_optimizer("lion", 0.1, 10, **options | {"weight_decay": 0.0})
    assert "cautious_decay has no effect without optimizer.weight_decay" in capsys.readouterr().err
    make_optimizer("sgd", 0.1, 10, cautious_decay=True)
    assert "cautious_decay=True has no effect: the optimizer 'sgd' has no cautious_decay" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"name": "adamm"}, "unknown optimizer 'adamm', did you mean 'adam"),
        ({"schedule": "cos"}, "unknown schedule 'cos'"),
        ({"warmup_steps": 10}, "below the 10 steps"),
        ({"weight_decay": 0.1}, "'adam' has no weight decay"),
        ({"name": "sgd", "eps": 1e-4}, "'sgd' has no eps"),
        ({"decay_pattern": "("}, "not a regular expression"),
    ],
)
def test_mistakes(options, sentence):
    with pytest.raises(UserError, match=sentence):
        make_optimizer(**{"name": "adam", "learning_rate": 0.1, "total_steps": 10} | options)


def test_options_without_an_effect_are_said(capsys):
    say_once.cache_clear()
    make_optimizer("adam", 0.1, 10, end_factor=0.5)
    assert "optimizer.end_factor=0.5 has no effect on the schedule 'constant'" in capsys.readouterr().err
    make_optimizer("sgd", 0.1, 10, b2=0.99, decay_pattern="bias$")
    assert "optimizer.b2=0.99 has no effect: the optimizer 'sgd' has no b2" in capsys.readouterr().err
    make_optimizer("adam", 0.1, 10, end_factor=0.5, schedule="cosine")
    assert not capsys.readouterr().err


def test_average_warms_up_then_decays():
    ema, new, averaged = {"w": np.float32(0)}, {"w": np.float32(1)}, jax.jit(average, static_argnums=3)
    np.testing.assert_allclose(averaged(ema, new, np.int32(0), 0.99)["w"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(averaged(ema, new, np.int32(10**6), 0.99)["w"], 0.01, rtol=1e-4)
    values, expected, found = np.random.default_rng(0).normal(size=(60, 3)), np.ones(3), {"w": np.ones(3, np.float32)}
    for t, value in enumerate(values):  # of tf.train.ExponentialMovingAverage with `num_updates`
        decay = min(0.7, (1 + t) / (10 + t))
        expected = decay * expected + (1 - decay) * value
        found = averaged(found, {"w": value.astype(np.float32)}, np.int32(t), 0.7)
        np.testing.assert_allclose(found["w"], expected, rtol=1e-4, atol=1e-5)


def test_another_package_adds_an_optimizer_and_a_schedule(scope):
    scope(OPTIMIZERS)
    scope(SCHEDULES)

    @OPTIMIZERS.register("signs")
    def signs(b1: float = 0.9, floor: float = 0.5):
        return [optax.scale_by_sign(), optax.scale(1 - b1), optax.scale(floor)]

    @SCHEDULES.register("drops")
    def drops(course, at: int = 5, factor: float = 0.1):
        return jnp.where(course.t >= at, factor, 1.0)

    config = tiny_config()
    config.optimizer = optimizer_config("signs", floor=2, learning_rate=0.5, schedule="drops(at=2)")
    validate(config)
    options = config.optimizer.to_dict()
    assert options["floor"] == 2.0 and options["b2"] == 0.999
    optimizer = make_optimizer(options.pop("name"), options.pop("learning_rate"), 4, **options)
    steps = [update[0] for update in updates_of(optimizer, [np.float32([1, 0])] * 3)]
    np.testing.assert_allclose(steps, [-0.1, -0.1, -0.01], rtol=1e-5)
    for change, sentence in (
        ({"optimizer__name": "signs"}, r"lacks optimizer\.floor.*optimizer_config\('signs'\)"),
        ({"optimizer__schedule": "drops(att=2)"}, "has no option 'att', did you mean 'at'"),
        ({"optimizer__schedule": "drop"}, "unknown schedule 'drop', did you mean 'drops'"),
    ):
        with pytest.raises(UserError, match=sentence):
            validate(tiny_config(**change))
    with config.unlocked(), pytest.raises(UserError, match="has no option 'flor', did you mean 'floor'"):
        config.optimizer.unlock()["flor"] = 1.0
        validate(config)
    with pytest.raises(UserError, match="the option 'floor' of the optimizer 'signs' must be a number"):
        optimizer_config("signs", floor="high")
    with pytest.raises(UserError, match="has no option 'momentum'"):
        optimizer_config("signs", momentum=0.9)


def test_a_rule_of_a_user_keeps_its_own_defaults_of_options_that_every_config_has(scope):
    scope(OPTIMIZERS)

    @OPTIMIZERS.register("signs")
    def signs(b1: float = 0.5, b2: float = 0.999, weight_decay: float = 1.0):
        return [optax.scale_by_sign(), optax.scale(1 - b1), *decay(weight_decay, DECAYING)]

    section = optimizer_config("signs")
    assert (section.b1, section.weight_decay, section.b2, section.eps) == (0.5, 1.0, 0.999, 1e-8)
    assert optimizer_config("signs", b1=0.25).b1 == 0.25
    config = tiny_config()
    config.optimizer = section
    expected = {"b1": 0.5, "b2": 0.999, "weight_decay": 1.0}
    assert dict(validate(config).optimizer) == dict(read_rule("signs", {})) == expected

    @OPTIMIZERS.register("clips")
    def clips(clip_norm: float = 1.0):
        return [optax.clip_by_global_norm(clip_norm)]

    with pytest.raises(UserError, match="'clip_norm' of the optimizer 'clips' is a field of every config: rename it"):
        optimizer_config("clips", clip_norm=2.0)
    assert optimizer_config("optax.contrib.schedule_free_adamw", warmup_steps=3).warmup_steps == 3


def updates_of(optimizer, gradients) -> list[np.ndarray]:
    """The updates of the kernel, step by step, while the parameters stay."""
    update, state, found = jax.jit(optimizer.update), optimizer.init(KERNEL), []
    for gradient in gradients:
        updates, state = update({"kernel": jnp.asarray(gradient)}, state, KERNEL)
        found.append(np.asarray(updates["kernel"]))
    return found


def test_gradients_are_clipped_and_not_the_updates():
    """With momentum b the second update of a gradient that is clipped to norm 1 has norm 1 + b."""
    optimizer = make_optimizer("sgd", 1.0, 10, clip_norm=1.0, b1=0.5)
    first, second = updates_of(optimizer, [np.float32([30, 40])] * 2)
    np.testing.assert_allclose(first, [-0.6, -0.8], rtol=1e-5)
    np.testing.assert_allclose(second, [-0.9, -1.2], rtol=1e-5)


def test_adam_and_lion_are_their_equations():
    """Kingma & Ba (2015), algorithm 1, and Chen et al. ("Symbolic Discovery of Optimization Algorithms", 2023), program
    1, with decay that is decoupled: times the rate, and outside of the root and the sign.
    """
    gradients = np.random.default_rng(0).normal(size=(5, 2)) * (1, 0.1)
    (p, decay), (b1, b2) = (np.asarray(KERNEL["kernel"], np.float64), 0.5), (0.8, 0.95)
    for name, weight_decay in (("adam", 0.0), ("adamw", decay), ("lion", decay)):
        more = {} if name == "adam" else {"weight_decay": weight_decay}
        eps = {} if name == "lion" else {"eps": 0.3}  # is added to the root
        optimizer = make_optimizer(name, 0.1, 10, b1=b1, b2=b2, **eps, **more)
        m, v = np.zeros(2), np.zeros(2)
        for t, (g, found) in enumerate(zip(gradients, updates_of(optimizer, np.float32(gradients)), strict=True), 1):
            if name == "lion":
                update = np.sign(b1 * m + (1 - b1) * g)
                m = b2 * m + (1 - b2) * g
            else:
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
                update = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 0.3)
            np.testing.assert_allclose(found, -0.1 * (update + weight_decay * p), rtol=1e-4, err_msg=name)


def test_decay_of_gradient_descent_is_a_penalty():
    """The gradient of w |p|^2 / 2 goes through the momentum like every other."""
    optimizer = make_optimizer("sgd", 0.1, 10, weight_decay=0.5, b1=0.9)
    first, second = updates_of(optimizer, [np.zeros(2, np.float32)] * 2)
    np.testing.assert_allclose(first, -0.1 * 0.5 * KERNEL["kernel"], rtol=1e-5)
    np.testing.assert_allclose(second, 1.9 * first, rtol=1e-5)


PARAMS = {"layer": {"kernel": np.float32([[1, -2], [3, 4]]), "bias": np.float32([1, 1])}}
GRADIENTS = jax.tree.map(lambda leaf: leaf / 3, PARAMS)


def checked(name: str, **options):
    config = tiny_config()
    config.optimizer = optimizer_config(name, **options)
    return config.optimizer, validate(config).optimizer


def test_they_take_their_steps_with_their_own_options():
    options = {"momentum": 0.9, "weight_decay_rate": 0.1, "learning_rate": 0.5}  # two whose defaults are None
    section, rule = checked("optax.adafactor", **options)
    assert section.decay_rate == 0.8 and section.momentum == 0.9 and "weight_decay_mask" not in section
    assert checked("optax.lion")[0].b2 == 0.99  # not that of every config
    cases = [
        (make_optimizer(rule, 0.5, 10), optax.adafactor(0.5, momentum=0.9, weight_decay_rate=0.1)),
        (make_optimizer(checked("optax.contrib.prodigy")[1], 1.0, 10), optax.contrib.prodigy(1.0)),
        # without a rate of its own
        (make_optimizer(checked("optax.trace", decay=0.5)[1], 0.1, 10), optax.sgd(0.1, momentum=0.5)),
    ]

    @jax.jit
    def updates(gradients, params):
        return [[o.update(gradients, o.init(params), params)[0] for o in pair] for pair in cases]

    for found, expected in updates(GRADIENTS, PARAMS):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)


NO_RULES = ["", "contrib", "contrib._muon.muon", "jax.jit", "_src.alias.adam", "adam.__call__", "__builtins__"]
NO_RULES += ["global_norm", "GradientTransformation"]


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("os.system", "unknown optimizer 'os.system'"),
        *((f"optax.{name}", "no public function of optax") for name in NO_RULES),
        ("optax.chain", "'optax.chain' takes other transformations"),
        ("optax.masked", "needs the option 'inner'"),
        ("optax.polyak_sgd", "'optax.polyak_sgd' cannot train with these options: .*value"),
        ("optax.sm3", "'optax.sm3' cannot train with these options"),
    ],
)
def test_all_else_is_refused_in_one_sentence(name, sentence):
    with pytest.raises(UserError, match=sentence) as refusal:
        checked(name)
    assert "\n" not in str(refusal.value)


def test_wrong_options_are_refused():
    for options, sentence in (
        ({"decay_rat": 0.9}, "has no option 'decay_rat', did you mean 'decay_rate'"),
        ({"decay_rate": "high"}, "'decay_rate' of the optimizer 'optax.adafactor' must be a number"),
        ({"weight_decay_mask": print}, r"config\.optimizer\.weight_decay_mask must be true or false"),
        ({"momentum": "much"}, "'optax.adafactor' cannot train with these options"),
    ):
        with pytest.raises(UserError, match=sentence):
            checked("optax.adafactor", **options)
    config = tiny_config(optimizer__name="optax.adafactor")
    with pytest.raises(UserError, match=r"lacks optimizer\.\w+.*optimizer_config\('optax.adafactor'\)"):
        validate(config)


CHANGES = {"optimizer__name": "schedule_free_adamw", "optimizer__warmup_steps": 3, "train__ema_decay": 0.0}
CHANGES |= {"train__steps": 8, "train__eval_every": 4, "train__checkpoint_every": 4}


def test_the_three_sequences_are_their_equations():
    """Defazio et al. (2024), algorithm 1, with the decay at y and with weights of squared rates, during a warm-up."""
    (b1, b2, decay), y = (0.8, 0.9, 0.5), np.array([3.0, -4.0])
    optimizer = make_optimizer("schedule_free_adamw", 0.1, 10, warmup_steps=3, b1=b1, b2=b2, weight_decay=decay)
    params, update = {"kernel": np.float32(y)}, jax.jit(optimizer.update)
    state = optimizer.init(params)
    x, z, v, total = y, y, np.zeros(2), 0.0
    for t in range(5):
        g, rate = np.sin(y + t), 0.1 * min(1, (t + 1) / 3)
        updates, state = update({"kernel": np.float32(g)}, state, params)
        params = optax.apply_updates(params, updates)
        v = b2 * v + (1 - b2) * g**2
        z = z - rate * (g / (np.sqrt(v / (1 - b2 ** (t + 1))) + 1e-8) + decay * y)
        total += rate**2
        x = (1 - rate**2 / total) * x + rate**2 / total * z
        y = (1 - b1) * z + b1 * x
        np.testing.assert_allclose(params["kernel"], y, rtol=1e-5)
        scored = eval_params(TrainState(jnp.int32(t), params, state, {}))
        np.testing.assert_allclose(scored["kernel"], x, rtol=1e-5)
    # members of a population have a state each
    members = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), (params, state))
    averages = eval_params(TrainState(jnp.int32(5), members[0], members[1], {}))
    np.testing.assert_allclose(averages["kernel"][0], x, rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class Follows(Objective):
    """A quadratic of `w`, and `code`, which becomes the number of steps."""

    def loss(self, model, params, own, batch, step):
        value, one = jnp.square(params["w"]).sum() + params["code"].sum(), jnp.float32(1)
        return Loss((Mean(value, one),), Metrics(value, one, one, one))

    def init(self, model, key):
        return super().init(model, key)

    def after_step(self, model, params, state):
        return params | {"code": jnp.full(2, 7.0)}, state


def test_parameters_that_no_gradient_trains_are_scored_as_they_are():
    setup = build(tiny_config(**CHANGES))
    spec = dataclasses.replace(setup.spec, objective=Follows())
    model = dataclasses.make_dataclass("Model", ["param_shapes"])({"w": None, "code": None})
    spec = dataclasses.replace(spec, model=model)
    state = fresh_state(spec, jax.random.key(0), {"w": jnp.ones(2), "code": jnp.zeros(2)})
    step = jax.jit(functools.partial(train_step, spec))
    for _ in range(3):
        state, _ = step(state, Batch(np.zeros((2, 64), np.int32), {}), jax.random.key(1))
    scored = eval_params(state)
    np.testing.assert_allclose(scored["code"], 7.0, rtol=1e-6)
    assert np.abs(scored["w"] - state.params["w"]).min() > 1e-6


def test_frozen_parameters_are_their_average_to_the_bit():
    """Else a tokenizer that stays as it is would no longer be that of its prior."""
    params = {"w": jax.random.normal(jax.random.key(0), (1000,))}
    optimizer = make_optimizer("schedule_free_adamw", 0.1, 10)
    np.testing.assert_array_equal(average_of(optimizer.init(params), params)["w"], params["w"])


@pytest.mark.slow
def test_a_run_scores_and_keeps_the_average_and_resumes_bit_for_bit(tmp_path, monkeypatch):
    setup = build(tiny_config(**CHANGES, train__steps_per_dispatch=1))
    outcome, resumed = assert_a_stop_changes_no_bit(lambda: setup, tmp_path, monkeypatch, 5)
    final = final_state(tmp_path / "straight", **CHANGES)
    assert resumed.results["nll_nats"] == outcome.results["nll_nats"]
    params, step, _ = restore_params(setup, tmp_path / "straight")
    assert step == 8
    assert_same_bits(params, eval_params(final[1]))
    far = jax.tree.map(lambda scored, trained: float(np.abs(scored - trained).max()), params, final[1].params)
    assert min(jax.tree.leaves(far)) > 1e-6


def test_a_second_average_and_a_falling_rate_are_refused():
    for change, sentence in (
        ({"train__ema_decay": 0.9}, r"train\.ema_decay=0\.9 must be 0 with this optimizer"),
        ({"optimizer__schedule": "cosine"}, r"optimizer\.schedule='cosine' must be 'constant'"),
        ({"optimizer__b1": 0.0}, r"optimizer\.b1 must be above 0"),
    ):
        with pytest.raises(UserError, match=sentence):
            build(tiny_config(**CHANGES | change))
