"""A model with its parameters, for notebooks: scores, samples and plots in a line each."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from arjax.api.conditionals import SiteConditionals, site_conditionals
from arjax.api.pictures import entropy_picture, history_picture, samples_picture
from arjax.api.saving import save
from arjax.config.build import open_run
from arjax.core.arguments import checked_arguments
from arjax.core.arrays import as_array
from arjax.core.batch import as_parts
from arjax.core.errors import UserError
from arjax.core.integers import check_seed
from arjax.core.memory import within_memory
from arjax.data import Dataset
from arjax.data.sources import ArraySource, array_source
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.prompts import Conditioning, end_of, text_of
from arjax.evaluation.report import Measures, report
from arjax.evaluation.sampling import draw_on_mesh, pieces_on_mesh, prepare_sampler
from arjax.evaluation.suggestions import Suggestions, suggest
from arjax.models import Model
from arjax.models.abilities import require
from arjax.reporting.diagrams import factorization_figure
from arjax.reporting.scores import scores_in_words
from arjax.samplers import Sampler


class Curve(NamedTuple):
    """A metric over the steps of a run: `plt.plot(*curve)`.

    Attributes:
      steps: int64[N].
      values: float64[N], nan where a value was not finite.
    """

    steps: np.ndarray
    values: np.ndarray


def as_history(lines: list[dict[str, Any]]) -> dict[str, Curve]:
    """The lines of `metrics.jsonl` as a curve for each name."""
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    found = {}
    for name in names:
        steps, values = zip(*((line["step"], line[name]) for line in lines if name in line), strict=True)
        found[name] = Curve(np.array(steps, np.int64), np.array(values, np.float64))  # None becomes nan
    return found


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options of the scores of a trained model."""

    mesh: Mesh  # of its parameters
    measures: Measures = Measures()  # noqa: RUF009, frozen
    seed: int = 0  # of the random numbers in the score of a split
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the training in a model card
    entries: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the training in a report


class TrainedModel:
    """A model with its parameters, and the data and the results of its training.

    Examples have the form of the rows of `dataset`, the input of the model. Standardised real data are standardised
    here, too; `standardise` and `in_data_units` convert them, and log-probabilities are densities in the units of the
    data, as in every report.

    Attributes:
      model: the model.
      params: its parameters.
      dataset: its training data; without splits where there are only the parameters.
      results: the scores of the test split, as in `results.json`; None before there are any.
      history: the metrics of the training by name: `history["validation/bits_per_dim"]` is a `Curve`.
      settings: options and devices of its scores.
    """

    if TYPE_CHECKING:
        # Fields of `Fitted`, and properties of a run: all can be read. Properties here would be defaults of the fields.
        @property
        def model(self) -> Model: ...
        @property
        def params(self) -> Any: ...
        @property
        def dataset(self) -> Dataset: ...
        @property
        def results(self) -> Mapping[str, Any] | None: ...
        @property
        def history(self) -> Mapping[str, Curve]: ...
        @property
        def settings(self) -> Settings: ...

    @checked_arguments()
    def log_prob(self, x: Any, *, context: Any = None, mask: Any = None) -> np.ndarray:
        """log p(x | context) of each example in nats, float64[N]; of a model with several orders that of their mixture.

        Args:
          x: examples [N, *grid, *value], such as `run.dataset.splits["test"].arrays.x`. Binarization and the like are
            not applied.
          context: [N, ...], or one for all; a dict where the context has several parts.
          mask: [N, *grid] of 0 and 1, the sites that are scored; None: all.

        Raises:
          UserError: shapes or values do not fit the model.
        """
        return -self._evaluator.rows_of(self.params, self._source(x, context, mask))["nll"]

    @checked_arguments(length=0, num=None, seed=None, temperature=None, top_k=None, top_p=None, min_p=None)
    def sample(
        self,
        num: int = 1,
        *,
        seed: int = 0,
        prompt: str = "",
        length: int = 0,
        given: Any = None,
        observed: Any = None,
        context: Any = None,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        sampler: str | Sampler = "cached",
    ) -> np.ndarray:
        """Draws `num` examples [num, *grid, *value]: the same for the same seed, and fewer are the first of more.

        Behind the end of an example, of texts that end, stands the end token again.

        Args:
          num: the number of examples.
          seed: of the random numbers.
          prompt: the first characters of each example, of a model of text; instead of `given` and `observed`.
          length: sites of each example, of a model of sequences: any number, see `arjax.models.longer`. 0: as many as
            in its training.
          given: values of the observed sites, of one example for all or of each; with a `length` the first sites.
          observed: bool[*grid], the sites that keep their `given` values; the others are drawn given these.
          context: one for all, or [num, ...].
          temperature: divides the logits; 1 is the model's own distribution.
          top_k, top_p, min_p: draw only from the most probable values.
          sampler: a call string, see docs/sampling.md, or a sampler.

        Raises:
          UserError: as `model.draw`, `arjax.models.longer.pieces` and `prompt_options`.
        """
        if prompt and (given is not None or observed is not None):
            raise UserError("a prompt sets the observed sites: leave `given` and `observed` out")
        if length and observed is not None:
            raise UserError("a draw with a length begins with its `given` values: leave `observed` out")
        options = {"context": context, "temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        options |= {"sampler": sampler, "given": given} | ({} if length else {"observed": observed})
        key, sites = _as_key(seed), length or self.model.event.num_sites
        with within_memory(lambda: f"{num} examples of {sites} sites need more memory than there is: draw fewer"):
            options = self._options(length, prompt, options)
            draw = draw_on_mesh(self.model, self.params, key, num, self.settings.mesh, length=length, **options)
        return np.asarray(draw.x)

    @checked_arguments(like=sample, length=1, seed=None)
    def stream(self, length: int, *, seed: int = 0, prompt: str = "", **options: Any) -> Iterator[str]:
        """The text of `sample(length=length, ...)[0]` piece by piece, as it is drawn; of models of text.

        It begins with the prompt, and stops early where the text ends. The options are those of `sample`.

        Raises:
          UserError: as `sample`, or the data is no text.
        """
        vocabulary, key = text_of(self.dataset), _as_key(seed)
        with within_memory(lambda: f"{length} sites need more memory than there is: make the text shorter"):
            options = self._options(length, prompt, options)
            found = pieces_on_mesh(self.model, self.params, key, 1, self.settings.mesh, length, **options)
        return vocabulary.decode_pieces(np.asarray(x) for x, _ in found)

    def _options(self, length: int, prompt: str, options: dict[str, Any]) -> dict[str, Any]:
        """The options of a draw: those of the user, with the sampler ready, the prompt and the end of texts."""
        run, sampler = functools.partial(open_run, mesh=self.settings.mesh), options.get("sampler", "cached")
        sampler = prepare_sampler(sampler, self.model, self.params, self.dataset, run, length)
        options = options | {"sampler": sampler, "end": end_of(self.dataset)}
        return options | Conditioning(prompt).options(self.dataset, length)

    def suggest(self, prompt: str = "", **options: Any) -> Suggestions:
        """The most probable next characters and continuations of a prompt, with their probabilities; of models of text.

        `options` are those of `arjax.evaluation.suggestions.suggest`: num, length, beams, context.
        """
        model = require(self.model, "conditionals", "`suggest`")
        with within_memory(lambda: "so many continuations need more memory than there is: lower num and beams"):
            return suggest(model, self.params, self.dataset, prompt, **options)

    @checked_arguments(seed=None)
    def conditionals(self, x: Any, *, context: Any = None, seed: int = 0) -> SiteConditionals:
        """The distribution of each site of examples [N, *grid, *value] given the sites visited before it.

        `.probabilities` [N, *grid, *value, K] of discrete data; `.draws`, `.mean`, `.std` of real data (`seed` is that
        of the draws); `.log_prob` and `.entropy` [N, *grid] of both.

        Raises:
          UserError: shapes or values do not fit, or the conditional has no such table.
        """
        source, key = self._source(x, context), _as_key(seed)
        batch = source.__getitems__(np.arange(len(source)))
        return site_conditionals(
            require(self.model, "conditionals", "`conditionals`"), self.params, batch, self.dataset.log_scale_D, key
        )

    @checked_arguments(like=Measures)
    def evaluate(self, split: str = "test", **measures: Any) -> dict[str, Any]:
        """The report about a split of `dataset`: the entries of `results.json`, which is that of the test split.

        Args:
          split: "train", "validation" or "test".
          **measures: the numbers that are asked for, in place of those of the run: `batch_size`, `num_orders`, `steps`,
            `schedule`, `samples`, `exposure`, `judge`, `length`, `examples`; see `arjax.evaluation.report.Measures`.

        Raises:
          UserError: there is no such split, or the model or its data lack one of the numbers.
        """
        settings = self.settings
        asked = dataclasses.replace(settings.measures, **measures)
        asked.check(self.model, self.dataset)
        run = functools.partial(open_run, mesh=settings.mesh)
        where = self.model, self.params, self.dataset, split, asked
        return report(*where, mesh=settings.mesh, seed=settings.seed, open_run=run).scores | self._entries()

    def _entries(self) -> dict[str, Any]:
        """The entries of a report about the training."""
        return dict(self.settings.entries)

    def standardise(self, x: Any) -> np.ndarray:
        """Examples in the units of the data as the model sees them; only real data that were standardised change.

        Raises:
          UserError: no numbers, or another shape than that of examples.
        """
        x = self._examples(x)
        if self.dataset.scale is None or self.dataset.shift is None:
            return x
        return ((x - self.dataset.shift) / self.dataset.scale).astype(np.float32)

    def in_data_units(self, x: Any) -> np.ndarray:
        """The inverse of `standardise`; raises as that does."""
        return self.dataset.in_data_units(self._examples(x))

    def _examples(self, x: Any) -> np.ndarray:
        """One example or several, as an array."""
        x, shape = np.asarray(as_array(x, "x")), self.model.event.shape
        if x.shape[x.ndim - len(shape) :] != shape or x.ndim < len(shape):
            raise UserError(f"x has shape {x.shape}, but an example has the shape {shape}")
        return x

    @checked_arguments()
    def save(self, path: str | os.PathLike) -> Path:
        """Writes model and parameters to a safetensors file, and a model card beside it; `arjax.load` reads them.

        Returns the path of the file. A file of that name is replaced. Raises `UserError` where the disk refuses, or a
        part of the model is not registered.
        """
        about = {"num_orders": self.settings.measures.num_orders, **self.settings.about}
        return save(path, self.model, self.params, self.dataset, self.results, about)

    @checked_arguments(like=sample, num=1)
    def plot_samples(self, num: int = 16, **options: Any) -> Any:
        """A figure of samples beside examples of the data; the options are those of `sample`."""
        return samples_picture(self.dataset, self.model, num, functools.partial(self.sample, **options), options)

    @checked_arguments()
    def plot_history(self, name: str = "bits_per_dim") -> Any:
        """A figure of the loss over the steps, `train/NAME` and `validation/NAME` of `history`."""
        return history_picture(self.history, name)

    @checked_arguments(max_examples=0)
    def plot_entropy(self, split: str = "", max_examples: int = 1000) -> Any:
        """A figure of the entropy of each step of the order, over a split (the last there is, by default)."""
        model, settings = require(self.model, "conditionals", "`plot_entropy`"), self.settings
        rest = settings.measures.batch_size, max_examples, settings.mesh
        return entropy_picture(model, self.params, self.dataset, split, *rest)

    def plot_order(self) -> Any:
        """A figure of the order, and of the sites that each conditional reads."""
        model = require(self.model, "conditionals", "`plot_order`")
        return factorization_figure(model.factorization, model.network.dependencies(model.factorization))

    def _source(self, x: Any, context: Any = None, mask: Any = None) -> ArraySource:
        """Examples of the user, checked."""
        x, spec = np.asarray(as_array(x, "x")), self.model.context_spec
        arrays = {"x": x}
        if spec or context is not None:
            parts = dict(spec.parts)
            arrays["context"] = {
                name: np.broadcast_to(part, (len(x), *parts[name].shape))
                if np.shape(part) == parts[name].shape and x.ndim
                else part
                for name, part in as_parts(spec, context).items()
            }
        if mask is not None:
            arrays["mask"] = mask
        return array_source(self.model.event, spec, "given", arrays)

    @functools.cached_property
    def _evaluator(self) -> Evaluator:
        """Scores examples as they are given."""
        settings, as_given = self.settings, dataclasses.replace(self.dataset, transform=None)
        measures = settings.measures
        return Evaluator(self.model, as_given, measures.batch_size, settings.mesh, settings.seed, measures.num_orders)


@dataclasses.dataclass(repr=False)
class Fitted(TrainedModel):
    """A trained model without a config: of `arjax.fit_arrays`, or out of a file."""

    model: Model
    params: Any
    dataset: Dataset
    settings: Settings
    results: Mapping[str, Any] | None = None
    history: Mapping[str, Curve] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Fitted({self.model!r}{scores_in_words(self.results)})"


def _as_key(seed: Any) -> jax.Array:
    """The key of a seed; raises `UserError` where it is none."""
    check_seed(seed)
    return jax.random.key(seed)
