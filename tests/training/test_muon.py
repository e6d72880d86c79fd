"""Muon: its step against its equations, and which parameters are matrices."""

import jax
import jax.numpy as jnp
import law_cases as cases
import numpy as np
import optax
import pytest
from loop_helpers import tiny_config
from optimizers import make_optimizer

from arjax.config import optimizer_config
from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.parallel.sharding import path_string
from arjax.testing.models import autoregressive_networks
from arjax.training.optimizer import OPTIMIZERS, muon
from arjax.training.reporter import headline
from arjax.training.state import TrainState, parts_of_optimizer

#: Layers that return features.
READOUT = frozenset({"out/kernel", "readout/out/kernel", "site/earlier/kernel"})
#: By their path: the shape of a parameter, and its matrices as (axes of the stack, inputs, outputs), or None for Adam.
PARAMETERS = {
    "layers/attention/query/kernel": ((2, 3, 4), (2, 3, 4)),
    "layers/attention/out/kernel": ((2, 4, 3), (2, 4, 3)),
    "layers/attention/norm/scale": ((2, 3), None),
    "core/layer_12/out/kernel": ((5, 2), (1, 5, 2)),
    "core/layers/attention/recurrence/input_kernel": ((2, 2, 3, 3), (4, 3, 3)),
    "core/layers/attention/conv_kernel": ((2, 4, 3), None),
    "core/layers/state_to_state_kernel": ((2, 2, 2, 4), (4, 2, 4)),
    "down_0_0/conv_out/mix/kernel": ((6, 2), (1, 6, 2)),
    "lower/stretch_0/kernel": ((2, 3, 2, 4), (1, 12, 4)),
    "Conv_0/kernel": ((3, 2, 2), (1, 6, 2)),
    "hidden_0_kernel": ((3, 4), (1, 3, 4)),
    "out_0/kernel": ((3, 3), (1, 3, 3)),
    **dict.fromkeys(("in_kernel", "value/linear/kernel", *READOUT), ((3, 5), None)),
    **dict.fromkeys(("value/table/embedding", "site/bias", "markov/table"), ((5, 3), None)),
}


def tree_of(leaves: dict) -> dict:
    tree: dict = {}
    for path, leaf in leaves.items():
        *parents, last = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return tree


def parts(optimizer, params) -> dict[str, str]:
    """The part of the optimizer that moves each parameter."""
    return parts_of_optimizer(TrainState(0, params, jax.eval_shape(optimizer.init, params), {}))


def orthogonal(matrix: np.ndarray, steps: int) -> np.ndarray:
    """X <- a X + b (X X^T) X + c (X X^T)^2 X from X of norm 1, with the shorter side first (Jordan et al., 2024)."""
    x = matrix / (np.linalg.norm(matrix) + 1e-8)
    x = x.T if x.shape[0] > x.shape[1] else x
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


def test_steps_are_those_of_the_equations():
    """m <- beta m + (1 - beta) g; the matrix is beta m + (1 - beta) g, each without the bias of its start."""
    rng, (beta, b1, b2) = np.random.default_rng(0), (0.8, 0.7, 0.9)
    some = {name: PARAMETERS[name] for name in ("layers/attention/out/kernel", "lower/stretch_0/kernel", "out/kernel")}
    gradients = [{path: rng.normal(size=shape) for path, (shape, _) in some.items()} for _ in range(2)]
    params = jax.tree.map(np.float32, tree_of(gradients[0]))
    shared = {"momentum": beta, "ns_steps": 2, "b1": b1, "b2": b2, "weight_decay": 0.5}
    shared["adam_pattern"] = "^out/kernel$"
    for rms in (0.2, 0.0):
        optimizer = make_optimizer("muon", 0.1, 10, consistent_rms=rms, **shared)
        update, state = jax.jit(optimizer.update), optimizer.init(params)
        moments = {path: (np.zeros(shape), np.zeros(shape)) for path, (shape, _) in some.items()}
        for t, gradient in enumerate(gradients, start=1):
            updates, state = update(jax.tree.map(np.float32, tree_of(gradient)), state, params)
            found = {path_string(path): leaf for path, leaf in jax.tree.leaves_with_path(updates)}
            for path, (shape, matrices) in some.items():
                (m, v), g = moments[path], gradient[path]
                if matrices is None:
                    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
                    step = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + 1e-8)
                else:
                    m = beta * m + (1 - beta) * g
                    ahead = beta * m / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
                    step = np.stack([orthogonal(each, 2) for each in ahead.reshape(matrices)]).reshape(shape)
                    _, fan_in, fan_out = matrices
                    step *= rms * max(fan_in, fan_out) ** 0.5 if rms else max(1, fan_out / fan_in) ** 0.5
                moments[path] = m, v
                expected = -0.1 * (step + 0.5 * gradients[0][path])
                np.testing.assert_allclose(found[path], expected, 1e-3, 1e-4, err_msg=path)


def test_a_rule_decides_what_is_a_matrix_and_options_change_it():
    params = tree_of({path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, (shape, _) in PARAMETERS.items()})
    expected = {path: "adam" if matrices is None else "muon" for path, (_, matrices) in PARAMETERS.items()}
    assert parts(optax.chain(*muon(READOUT)), params) == expected
    moved = parts(optax.chain(*muon(READOUT, adam_pattern="stretch|^out_0")), params)
    others = {"lower/stretch_0/kernel", "out_0/kernel", "in_kernel", "value/linear/kernel"}
    others |= {"core/layers/attention/conv_kernel"}
    assert {path for path in moved if moved[path] != expected[path]} == others
    assert parts(make_optimizer("adamw", 0.1, 10), params) == {}
    for option in ("adam_pattern", "taps_pattern"):
        with pytest.raises(UserError, match=rf"optimizer\.{option}"):
            make_optimizer("muon", 0.1, 10, **{option: "("})


def test_a_stacked_and_an_unstacked_network_take_the_same_step():
    """Of every registered rule: the layers of a scan are moved as separate layers are, also by clipped gradients."""
    rng = np.random.default_rng(0)
    layers = [{"attention": {"out": {"kernel": np.float32(rng.normal(size=(4, 3)))}}} for _ in range(2)]
    stacked = {"layers": jax.tree.map(lambda *leaves: np.stack(leaves), *layers)}
    apart = {f"layer_{i}": layer for i, layer in enumerate(layers)}
    optimizers = {name: make_optimizer(name, 0.1, 10, clip_norm=1.0) for name in OPTIMIZERS.names()}

    @jax.jit
    def moved(params):
        found = {}
        for name, optimizer in optimizers.items():
            updates, _ = optimizer.update(jax.tree.map(jnp.sin, params), optimizer.init(params), params)
            found[name] = jax.tree.leaves(updates)
        return found

    of_stacked, of_apart = moved(stacked), moved(apart)
    for name in optimizers:
        np.testing.assert_allclose(of_stacked[name][0], np.stack(of_apart[name]), 1e-4, 1e-5, err_msg=name)


def test_a_run_tells_what_moves_the_parameters():
    config = tiny_config()
    config.optimizer = optimizer_config("muon")
    (_, line) = headline(build(config))
    kernel, biases = 64 * 17 * 16, 16 + 64 * 17
    muon, adam = f"{kernel:,} of them by muon", f"{kernel + biases:,} of them by adam"
    assert f"{2 * kernel + biases:,} parameters, {muon}, {adam};" in line
    (_, line) = headline(build(tiny_config()))
    assert f"{2 * kernel + biases:,} parameters; " in line


@pytest.mark.slow
@pytest.mark.parametrize("network", autoregressive_networks())
def test_the_last_layers_of_every_network_go_to_adam(network):
    """Kernels with as many outputs as a site, or all sites, have features; blocks of PixelSNAIL may by chance."""
    event = cases.EVENTS["tokens"]
    model = cases.supported_model(network, event, "raster", "sites")
    labels = parts(make_optimizer("muon", 0.1, 10, model=model), model.param_shapes) if model.param_shapes else {}
    for path, leaf in jax.tree.leaves_with_path(model.param_shapes):
        name = path_string(path)
        if name.endswith("kernel"):
            sizes = event.num_levels, event.num_levels * event.num_sites
            is_last = leaf.shape[-1] in sizes and not name.startswith("blocks/")
            reads = "in_kernel" in name.split("/") or name.endswith(("linear/kernel", "conv_kernel"))
            assert labels[name] == ("adam" if is_last or reads else "muon"), name
