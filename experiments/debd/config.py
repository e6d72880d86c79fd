"""Nine binary sets of the density estimation benchmark DEBD, by networks with one order or with many.

Rooshenas & Lowd, "Learning Sum-Product Networks with Direct and Indirect Variable Interactions" (ICML 2014), tables 1
and 3. The folder of the sets holds either the published files, `nltcs.train.data` and so on, or one `nltcs.npz` for
each set with packed bits.

    arjax --config=experiments/debd/config.py:nltcs,network=made,folder=debd --workdir=runs/debd/nltcs-made
"""

import dataclasses
import os
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from arjax.config import apply_smoke, base_config, dataset_config, network_config, parse_arg, pick, small_network_config
from arjax.core.errors import UserError
from arjax.core.options import opt, rate_option
from arjax.core.spec import EventSpec
from arjax.data import DATASETS, Dataset
from arjax.data.base import from_arrays
from arjax.networks.any_order.deep_nade import MaskedInputMLP
from arjax.networks.any_order.order_agnostic import OrderAgnosticNetwork
from arjax.networks.base import NETWORKS, fields_from
from arjax.objectives.base import OBJECTIVES, Mean
from arjax.objectives.likelihood import OrderAgnostic

SETS = ("nltcs", "plants", "baudio", "jester", "bnetflix", "accidents", "pumsb_star", "dna", "bbc")
FILES = {"train": "train", "validation": "valid", "test": "test"}
#: For each set: units of a layer, dropout of units and of inputs, train steps; the first for MADE, the second for NADE.
RECIPES = {
    "nltcs": ((500, 0.1, 0.0, 4000), (300, 0.0, 4000)),
    "plants": ((1000, 0.2, 0.0, 8000), (500, 0.0, 6000)),
    "baudio": ((1000, 0.5, 0.0, 8000), (500, 0.2, 4000)),
    "jester": ((1000, 0.6, 0.0, 6000), (500, 0.3, 3000)),
    "bnetflix": ((1000, 0.5, 0.0, 8000), (500, 0.2, 4000)),
    "accidents": ((1000, 0.2, 0.0, 8000), (500, 0.0, 6000)),
    "pumsb_star": ((1000, 0.2, 0.0, 8000), (500, 0.0, 6000)),
    "dna": ((1000, 0.6, 0.2, 6000), (500, 0.3, 3000)),
    "bbc": ((500, 0.6, 0.4, 2000), (250, 0.5, 2000)),
}
#: For each set: units of both layers, dropout of units and of inputs, weight decay, sparsity, batch and train steps of
#: direct NADE.
DIRECT = {
    "nltcs": (300, 0.1, 0.0, 1e-4, 0.0, 200, 4000),
    "plants": (400, 0.1, 0.0, 1e-4, 0.0, 200, 6000),
    "baudio": (400, 0.3, 0.1, 1e-3, 0.0, 200, 5000),
    "jester": (300, 0.4, 0.2, 1e-3, 0.0, 200, 4000),
    "bnetflix": (400, 0.3, 0.1, 1e-3, 0.0, 200, 5000),
    "accidents": (400, 0.1, 0.0, 1e-4, 0.0, 200, 7000),
    "pumsb_star": (400, 0.1, 0.0, 1e-4, 0.0, 100, 16000),
    "dna": (200, 0.5, 0.05, 1e-4, 1e-3, 100, 8000),
    "bbc": (250, 0.5, 0.4, 1e-2, 0.0, 200, 1000),
}


@DATASETS.register("debd")
def debd(*, set: str = "nltcs", folder: str = "") -> Dataset:
    """A set of DEBD: binary variables, with the published rows of train, validation and test.

    Args:
      set: the name of the set, such as "plants".
      folder: where the files are; "" for `debd` in `$ARJAX_RAW_DATA`.
    """
    at = Path(folder or os.path.join(os.environ.get("ARJAX_RAW_DATA", ""), "debd"))
    if (packed := at / f"{set}.npz").is_file():
        with np.load(packed) as file:
            splits = {split: np.unpackbits(file[name], axis=1)[:, : int(file["dim"])] for split, name in FILES.items()}
    elif (at / f"{set}.train.data").is_file():
        splits = {
            split: np.loadtxt(at / f"{set}.{name}.data", np.uint8, delimiter=",") for split, name in FILES.items()
        }
    else:
        raise UserError(f"{at} holds neither {set}.npz nor {set}.train.data, a set of DEBD")
    return from_arrays(EventSpec(splits["train"].shape[1:]), name=f"debd/{set}", **splits)


@NETWORKS.register("direct_nade")
class DirectNADE(OrderAgnosticNetwork):
    """DeepNADE with a linear map from the observed sites to the features of all sites, which starts at 0.

    Options: as `deep_nade`; `direct` connections; `input_dropout`: the rate at which observed sites are hidden.
    """

    hidden_sizes: tuple[int, ...] = opt((400, 400), fewest=1)
    activation: str = "relu"
    dropout: float = rate_option()
    input_dropout: float = rate_option()
    direct: bool = True

    SMALL = {"hidden_sizes": (24, 20), "steps_per_chunk": 4}

    def setup(self):
        sites, features = self.event.num_sites, self.num_features
        self.mlp = MaskedInputMLP(**fields_from(self, MaskedInputMLP, num_sites=sites))
        self.hide = nn.Dropout(self.input_dropout)
        if self.direct:
            shape = (sites, self.inputs_per_site, sites, features)
            self.direct_kernel = self.param("direct_kernel", nn.initializers.zeros, shape)

    def given(self, x, observed, context=None, *, train=False):
        inputs_BDn = self.all_inputs(x, observed)
        shown_BD1 = self.hide(jnp.ones((*inputs_BDn.shape[:2], 1)), deterministic=not train) > 0
        inputs_BDn = jnp.where(shown_BD1, inputs_BDn, 0)
        features_BDF = self.mlp(inputs_BDn, 0.0, train)
        if self.direct:
            features_BDF = features_BDF + jnp.einsum("bdn,dnif->bif", inputs_BDn, self.direct_kernel)
        return features_BDF.reshape(-1, *self.event.grid_shape, self.num_features).astype(jnp.float32)


@OBJECTIVES.register("sparse_order_agnostic")
@dataclasses.dataclass(frozen=True)
class SparseOrderAgnostic(OrderAgnostic):
    """`order_agnostic` with a penalty: `sparsity` times the sum of |w| over the direct connections, in nats."""

    sparsity: float = opt(0.01, least=0)

    def loss(self, model, params, aux, batch, step):
        loss = super().loss(model, params, aux, batch, step)
        leaves = jax.tree.leaves_with_path(params)
        sums = [jnp.abs(leaf).sum() for path, leaf in leaves if "direct_kernel" in jax.tree_util.keystr(path)]
        penalty = self.sparsity * sum(sums)
        return dataclasses.replace(loss, terms=(*loss.terms, Mean(penalty, jnp.float32(model.event.num_sites))))


def get_config(arg=""):
    """`set`: one of `SETS`; `network`: made (a pool of 16 orders), deep_nade or direct_nade (any order).

    `folder`: that of the sets; `dropout`, `units` and `steps` replace those of the recipe; `smoke`: seconds.
    """
    arg = parse_arg(
        arg,
        smoke=False,
        set=pick(SETS, "nltcs"),
        network=pick(("made", "deep_nade", "direct_nade"), "made"),
        folder="",
        dropout=-1.0,
        units=0,
        steps=0,
    )
    (units, dropout, inputs, steps), (nade_units, nade_dropout, nade_steps) = RECIPES[arg.set]
    weight_decay, sparsity, batch, is_made = 0.0, 0.0, 100, arg.network == "made"
    if arg.network == "deep_nade":
        units, dropout, steps = nade_units, nade_dropout, nade_steps
    if arg.network == "direct_nade":
        units, dropout, inputs, weight_decay, sparsity, batch, steps = DIRECT[arg.set]
    options = {"dropout": dropout if arg.dropout < 0 else arg.dropout}
    units, steps = arg.units or units, arg.steps or steps
    options["hidden_sizes"] = (units,) if is_made else (units, units)
    if arg.network != "deep_nade":
        options["input_dropout"] = inputs
    if arg.network == "direct_nade":
        options |= {"direct": arg.set != "bbc"}  # 1,058 sites and 1,670 rows
    config = base_config()
    config.dataset = dataset_config("debd", set=arg.set, folder=arg.folder)
    config.model.conditional = "bernoulli"
    config.model.orders = "pool(num=16)" if is_made else "uniform"
    config.objective = f"sparse_order_agnostic(sparsity={sparsity})" if sparsity else "order_agnostic"
    config.network = small_network_config(arg.network) if arg.smoke else network_config(arg.network, **options)
    config.optimizer.update(name="adamw", learning_rate=3e-3 if is_made else 2e-3, schedule="cosine")
    config.train.update(steps=steps, batch_size=100, steps_per_dispatch=20, ema_decay=0.99)
    config.train.update(log_every=steps // 10, eval_every=steps // 20, checkpoint_every=steps // 4)
    config.evaluate.update(batch_size=500, num_orders=16)
    if arg.network == "direct_nade":  # a score costs one pass for each site and order
        config.optimizer.update(weight_decay=weight_decay, clip_norm=1.0)
        config.train.update(batch_size=batch, steps_per_dispatch=50, ema_decay=0.995, eval_every=steps // 4)
        config.evaluate.update(batch_size=100, num_orders=1)
    return apply_smoke(config) if arg.smoke else config
