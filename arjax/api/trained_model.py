"""A model with its parameters, for notebooks: scores, samples and plots in a line each."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from arjax.api.auditing import subject_of
from arjax.api.compressing import coded, restored
from arjax.api.conditionals import SiteConditionals, site_conditionals
from arjax.api.orders import ChosenOrders, chosen_orders
from arjax.api.pictures import entropy_picture, samples_picture
from arjax.api.saving import save
from arjax.coding import CodingOptions
from arjax.config.build import open_run
from arjax.core.arrays import as_array, as_sites, is_present
from arjax.core.batch import as_parts
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.notebooks import InNotebook
from arjax.core.options import check_seed, checked_arguments, typed_fields
from arjax.core.programs import within_memory
from arjax.core.scores import EXACT
from arjax.core.traits import require
from arjax.data import Dataset
from arjax.data.rows import Rows, RowsRead, is_rows
from arjax.data.sources import ArraySource, array_source, read_all
from arjax.data.standardised import as_float32, remark_if_raw
from arjax.data.table import TableRows
from arjax.data.text_rows import class_numbers
from arjax.evaluation.classes import classes_of, log_posterior, log_prior
from arjax.evaluation.likelihood import Evaluator, HiddenSites, rows_in_orders
from arjax.evaluation.report import Measures, kind_of_nats, report
from arjax.evaluation.sampling import draw_on_mesh, options_of_run, pieces_on_mesh, text_of
from arjax.evaluation.splits import Scoring, SplitScorer
from arjax.evaluation.suggestions import Suggestions, SuggestOptions, suggest
from arjax.models import Model
from arjax.models.checks import MISSING_VALUES, check_likelihood
from arjax.page import Page, make_page
from arjax.parallel.sharding import make_mesh
from arjax.reporting.diagrams import factorization_figure
from arjax.reporting.plots import loss_figure
from arjax.reporting.reports import scores_in_words
from arjax.samplers import Sampler
from arjax.testing.auditing import Subject
from arjax.training.setup import Trained


class Curve(NamedTuple):
    """A metric over the steps of a run: `plt.plot(*curve)`."""

    steps: np.ndarray  # int64[N]
    values: np.ndarray  # float64[N], nan for a value that was not finite


class Given(NamedTuple):
    """Examples of the user."""

    examples: ArraySource
    numbers: np.ndarray  # by which the user calls them, int[N]: of files the numbers of lines


def as_history(lines: list[dict[str, Any]]) -> dict[str, Curve]:
    """The lines of `metrics.jsonl` as a curve for each name."""
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    curves = {}
    for name in names:
        steps, values = zip(*((line["step"], line[name]) for line in lines if name in line), strict=True)
        curves[name] = Curve(np.array(steps, np.int64), np.array(values, np.float64))  # None becomes nan
    return curves


@dataclasses.dataclass(frozen=True)
class Settings:
    """Options of the scores of a trained model."""

    mesh: Mesh = dataclasses.field(default_factory=make_mesh)  # of its parameters
    measures: Measures = Measures()  # noqa: RUF009, frozen
    seed: int = 0  # of the random numbers in the score of a split
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the training in a model file
    entries: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # the training in a report
    trust: bool = False  # the code of other runs that it reads: a judge, a draft

    @property
    def scoring(self) -> Scoring:
        return self.measures.scoring(self.mesh, self.seed)

    def open_run(self, workdir: str) -> Trained:
        return open_run(workdir, self.mesh, self.trust)


class TrainedModel(InNotebook):
    """A model with its parameters, and the data and the results of its training.

    Examples have the form of the rows of `dataset`, the input of the model. Real data may be standardised:
    `standardise` and `in_data_units` convert them, and log-probabilities are densities in the units of the data. Where
    the data are a table, strings or a text, examples may also be *rows* like those of the training, which `encode` and
    `decode` convert: a frame of pandas, polars or pyarrow, a dict of columns or a list of dicts, whose columns are
    matched by name; a list of strings; or the path of a file.

    `dataset` has no splits if the model comes from a file. `results` are the scores of the test split, as in
    `results.json`, and `history["validation/bits_per_dim"]` is a `Curve`.
    """

    if TYPE_CHECKING:
        # These are fields of `Fitted` and properties of a run. Real properties would be defaults of the fields.
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

    @checked_arguments(orders=1)
    def log_prob(
        self,
        x: Any,
        *,
        context: Any = None,
        mask: Any = None,
        unknown: str = "refuse",
        ordering: str = "",
        orders: str | int = "",
    ) -> np.ndarray:
        """Returns log p(x | context) in nats of each example, float64[N], or of one example without a batch axis; for a
        model of several orders, that of their mixture. Densities are in the units of the data.

        Args:
          x: examples [N, *grid, *value], such as `run.dataset.splits["test"].arrays.x`, or rows. No transform of the
            data, such as binarization, is applied.
          context: [N, ...], or one for all; a dict if it has several parts. Labels may be given by their names. None:
            that in the file of the rows, if there is one.
          mask: [N, *grid] of 0 and 1, the sites that are scored; None: all sites, or those of strings up to their ends.
          unknown: "refuse" rows with words that training never saw or without a column, or take these values as
            "missing", if the model takes missing values.
          ordering: the call string of an order, such as "spiral", under which x is scored.
          orders: a distribution over orders, such as "rasters", or a number of orders of the model, whose mixture is
            scored ("uniform": `evaluate.num_orders` random ones). `score_kind` says what the result is.
        """
        check_likelihood(self.model, "`log_prob`")
        is_one, x, mask = self._batched(x, mask)
        source = self.source(x, context, mask, unknown).examples
        if not ordering and not orders:
            nll_N = self.evaluator().rows_of(self.params, source)["nll"]
        else:
            chosen = self._chosen(ordering, orders)
            if chosen.kind != EXACT:
                say_once(
                    f"`log_prob` under this order: the score is no exact log-likelihood but of kind {chosen.kind!r}"
                )
            scorer = SplitScorer(rows_in_orders, self._as_given, self.settings.scoring)
            nll_N = scorer.rows((self.model, self.params, (chosen.each, chosen.weights)), source)["nll"]
        return 0.0 - nll_N[0] if is_one else 0.0 - nll_N

    @checked_arguments(orders=1)
    def score_kind(self, *, ordering: str = "", orders: str | int = "") -> str:
        """Returns the kind of the results of `log_prob` for these arguments: "exact", "bound", "estimate" or "none"."""
        if ordering or orders:
            return self._chosen(ordering, orders).kind
        return kind_of_nats(self.model, self.settings.measures.num_orders, self.dataset.end)

    def _chosen(self, ordering: str, orders: str | int) -> ChosenOrders:
        return chosen_orders(self.model, self.dataset, ordering, orders, self.settings.measures.num_orders)

    def _batched(self, x: Any, mask: Any) -> tuple[bool, Any, Any]:
        """Returns whether x is one example without a batch axis, and x and its mask with this axis."""
        if is_rows(x) or np.shape(x := as_array(x, "x")) != self.model.event.shape:
            return False, x, mask
        return True, x[None], None if mask is None else as_array(mask, "mask")[None]

    @checked_arguments()
    def conditional_log_prob(
        self, x: Any, *, query: Any, evidence: Any = None, context: Any = None, unknown: str = "refuse"
    ) -> np.ndarray:
        """Returns log p(x[query] | x[evidence], context) in nats, in the units of the data, of each example,
        float64[N], or of one example without a batch axis.

            run.conditional_log_prob(frame, query=["income"])  # given all other columns
            run.conditional_log_prob(frame, query=["income"], evidence=["age", "job"])

        Args:
          x, context, unknown: as for `log_prob`. Rows need only the columns of the query and the evidence.
          query: the names of columns of a table, or bool[*grid]: the sites that are scored, except for missing values.
          evidence: likewise, the given sites; None: all others, (): none.
        """
        require(self.model, "queries", "`conditional_log_prob`")
        queried = self._sites(query, "query")
        given = ~queried if evidence is None else self._sites(evidence, "evidence")
        if (queried & given).any() or not queried.any():
            raise UserError("the query must have a site, and share none with the evidence")
        needed = None
        if isinstance(self.dataset.rows, TableRows):
            needed = {name for name, reads in zip(self.dataset.rows.names, queried | given, strict=True) if reads}
        is_one, x, _ = self._batched(x, None)
        source = self.source(x, context, None, unknown, needed, queried | given).examples
        nll_N = self.evaluator(HiddenSites(queried, given)).rows_of(self.params, source)["nll"]
        return 0.0 - nll_N[0] if is_one else 0.0 - nll_N

    @checked_arguments()
    def posterior(self, x: Any, *, prior: Any = "train", mask: Any = None, unknown: str = "refuse") -> np.ndarray:
        """Returns p(class | x) = p(x | class) p(class) / p(x) of each example and class, float64[N, C]; if several
        parts of the context are classes, of each combination, float64[N, C1, C2, ...] in the order of the names of the
        parts. It is exact if the scores of the model are; from bounds it is an estimate, as a printed line says.

        Args:
          x, mask, unknown: as for `log_prob`; a class in the file of the rows is not read.
          prior: p(c): the frequencies in the "train" split, "uniform", or an array [C] or [C1, C2, ...].
        """
        classes = classes_of(self.model, "`posterior`", several=True, end=self.dataset.end)
        log_prior_C = log_prior(self.dataset, classes, prior)
        source = self.source(x, dict.fromkeys(classes.parts, 0), mask, unknown).examples
        p_NC = np.exp(log_posterior(self.evaluator(), self.params, source, classes, log_prior_C))
        return p_NC.reshape(len(p_NC), *classes.shape)

    @checked_arguments()
    def encode(self, rows: Any, *, unknown: str = "refuse") -> np.ndarray:
        """Returns rows as examples [N, *grid], as the model sees them: words as the numbers of levels, reals
        standardised, and NaN for a missing value. `unknown` is as for `log_prob`.
        """
        return self.read(rows, unknown).arrays["x"]

    @checked_arguments()
    def decode(self, x: Any) -> Any:
        """Returns examples [N, *grid] as rows, the inverse of `encode` up to the seventh digit of a real number: a dict
        of the columns of a table, with None for a missing value, or a list of strings or texts.
        """
        x = self._examples(x)
        return self._rows_of_data().decode(x.reshape(-1, *self.model.event.shape))

    @checked_arguments()
    def compress(self, x: Any, *, context: Any = None, streams: int = 0, verify: bool = True) -> bytes:
        """Returns the data as the bytes of a file of about -log2 p bits, from which `decompress` makes them again.

            data = run.compress(run.dataset.splits["test"])
            x = run.decompress(data, context=run.dataset.splits["test"].arrays.context)

        A file is decoded only with the same parameters and on a machine that computes the same bits, and is refused
        elsewhere. Padding behind the end of a string takes no bits. Needs constriction: pip install 'arjax[coding]'.

        Args:
          x: discrete examples [N, *grid, *value]; a split of the data set; or, for models of text, the bytes of a file.
          context: as for `log_prob`; it is not stored in the file.
          streams: examples, or streams of a text, that are coded side by side; 0: 128 examples, or a stream for each
            512 characters, at most 16.
          verify: whether to decode the file and to compare.
        """
        return coded(self, x, CodingOptions(context=context, streams=streams, verify=verify)).data

    @checked_arguments()
    def decompress(self, data: bytes, *, context: Any = None, streams: int = 0) -> Any:
        """Returns the data of `compress`: the same examples, in their type, or the same bytes. `context` is as for
        `compress`, and `streams` is that of the file, or 0.
        """
        return restored(self, data, CodingOptions(context=context, streams=streams)).x

    @checked_arguments(length=0, num=None, seed=None, temperature=None, top_k=None, top_p=None, min_p=None)
    def sample(
        self,
        num: int = 1,
        *,
        seed: int = 0,
        prompt: Any = "",
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

        Args:
          prompt: the first characters of each example, for a model of text; instead of `given` and `observed`.
          length: sites of each example, for a model of sequences: any number, see `arjax.models.longer`. 0: as in
            training.
          given: values of the observed sites, of one example for all or of each; with a `length` the first sites. For a
            table, a dict of values by the names of their columns, as in {"sex": "Female"}, without `observed`.
          observed: bool[*grid], the sites that keep their `given` values; the others are drawn given these.
          context: one for all, or [num, ...]; labels may be given by their names.
          temperature, top_k, top_p, min_p, sampler: see docs/sampling.md.
        """
        if not isinstance(prompt, str):
            raise UserError(f"prompt must be a text, not {prompt!r}: other values to begin with are `given`")
        by_names, both = isinstance(given, Mapping), prompt and not (given is None and observed is None)
        text = given if isinstance(given, str) else ""
        refuse(
            (both, "a prompt sets the observed sites: leave `given` and `observed` out"),
            (isinstance(given, str), f"characters to begin with are the prompt: write prompt={text!r}, not given"),
            (by_names and observed is not None, "values by the names of columns are observed: leave `observed` out"),
        )
        if by_names:
            given, observed = self._table("given").given(given)
        options = {"prompt": prompt, "length": length, "given": given, "observed": observed, "context": context}
        options |= {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p, "sampler": sampler}
        key, sites = _as_key(seed), length or self.model.event.num_sites
        with within_memory(lambda: f"{num} examples of {sites} sites need more memory than there is: draw fewer"):
            draw = draw_on_mesh(self.model, self.params, key, num, self.settings.mesh, **self._options(**options))
        return np.asarray(draw.x)

    @checked_arguments(like=sample, length=1, seed=None)
    def stream(self, length: int, *, seed: int = 0, **options: Any) -> Iterator[str]:
        """Returns the text of `sample(length=length, ...)[0]`, with the same options, piece by piece as it is drawn. It
        begins with the prompt, and stops early if the text ends.
        """
        vocabulary, key = text_of(self.dataset), _as_key(seed)
        with within_memory(lambda: f"{length} sites need more memory than there is: make the text shorter"):
            options = self._options(length=length, **options)
            pieces = pieces_on_mesh(self.model, self.params, key, 1, self.settings.mesh, **options)
        return vocabulary.decode_pieces(np.asarray(x) for x, _ in pieces)

    def _options(self, *, context: Any = None, **options: Any) -> dict[str, Any]:
        run = self.model, self.params, self.dataset, self.settings.open_run
        return options_of_run(*run, context=self._context(context), **options)

    @checked_arguments(like=SuggestOptions)
    def suggest(self, prompt: str = "", *, context: Any = None, **options: Any) -> Suggestions:
        """Returns the most probable next characters and continuations of a prompt; for models of text. The `options`
        are fields of `SuggestOptions`.
        """
        model = require(self.model, "conditionals", "`suggest`")
        with within_memory(lambda: "so many continuations need more memory than there is: lower num and beams"):
            return suggest(model, self.params, self.dataset, prompt, context=self._context(context), **options)

    @checked_arguments(seed=None)
    def conditionals(self, x: Any, *, context: Any = None, seed: int = 0) -> SiteConditionals:
        """Returns the distribution of each site of examples [N, *grid, *value] given the sites visited before it;
        `seed` is that of the draws of real values.
        """
        model, key = require(self.model, "conditionals", "`conditionals`"), _as_key(seed)
        source = self.source(x, context).examples
        batch = read_all(source)
        return site_conditionals(model, self.params, batch, self.dataset.log_scale_D, key)

    @checked_arguments(like=Measures)
    def evaluate(self, split: str = "test", **measures: Any) -> dict[str, Any]:
        """Returns the report about a split of `dataset`, the entries of `results.json`. The `measures` are fields of
        `arjax.evaluation.report.Measures`, in place of those of the run.
        """
        settings = self.settings
        requested = dataclasses.replace(settings.measures, **typed_fields(Measures, measures))
        requested.check(self.model, self.dataset)
        where = self.model, self.params, self.dataset, split, requested
        scored = report(*where, mesh=settings.mesh, seed=settings.seed, open_run=settings.open_run)
        return scored.scores | self._entries()

    def _entries(self) -> dict[str, Any]:
        return dict(self.settings.entries)

    def standardise(self, x: Any) -> np.ndarray:
        """Returns examples in the units of the data as the model sees them; only standardised data change."""
        x = self._examples(x)
        if self.dataset.scale is None or self.dataset.shift is None:
            return x
        return as_float32((x - self.dataset.shift) / self.dataset.scale, "x")

    def in_data_units(self, x: Any) -> np.ndarray:
        """The inverse of `standardise`."""
        return self.dataset.in_data_units(self._examples(x))

    def _examples(self, x: Any) -> np.ndarray:
        x, shape = np.asarray(as_array(x, "x")), self.model.event.shape
        if x.shape[x.ndim - len(shape) :] != shape or x.ndim < len(shape):
            raise UserError(f"x has shape {x.shape}, but an example has the shape {shape}")
        return x

    @checked_arguments()
    def save(self, path: str | os.PathLike) -> Path:
        """Writes the model to a safetensors file, which `arjax.load` reads. Returns the path."""
        about = {"num_orders": self.settings.measures.num_orders, **self.settings.about}
        return save(path, self.model, self.params, self.dataset, self.results, about)

    @checked_arguments()
    def page(self, path: str | os.PathLike = "", *, precision: str = "auto") -> Page:
        """Returns the page of the model, one HTML file that plays it in a browser or in a cell of a notebook, and
        writes it to `path` unless that is "". The `precision` of the weights is "float32", "float16", or "auto":
        float16 for pages that would otherwise have more than 2 MB.
        """
        page = make_page(self.model, self.params, self.dataset, self.results, precision=precision)
        return page.saved(path) if os.fspath(path) else page

    @checked_arguments(like=sample, num=1)
    def plot_samples(self, num: int = 16, **options: Any) -> Any:
        """A figure of samples beside examples of the data; the options are those of `sample`."""
        return samples_picture(self.dataset, self.model, num, functools.partial(self.sample, **options), options)

    @checked_arguments()
    def plot_history(self, name: str = "bits_per_dim") -> Any:
        """A figure of the loss over the steps, `train/NAME` and `validation/NAME` of `history`."""
        return loss_figure(self.history, name)

    @checked_arguments(max_examples=0)
    def plot_entropy(self, split: str = "", max_examples: int = 1000) -> Any:
        """Returns a figure of the entropy of each step of the order, over a split ("": the last one)."""
        model = require(self.model, "conditionals", "`plot_entropy`")
        return entropy_picture(model, self.params, self.dataset, split, self.settings.scoring, max_examples)

    def plot_order(self) -> Any:
        """A figure of the order, and of the sites that each conditional reads."""
        model = require(self.model, "conditionals", "`plot_order`")
        return factorization_figure(model.factorization, model.network.dependencies(model.factorization))

    def as_subject(self) -> Subject:
        """Returns the functions of the model for an audit; `arjax.audit(run)` calls it."""
        return subject_of(self)

    def source(
        self,
        x: Any,
        context: Any = None,
        mask: Any = None,
        unknown: str = "refuse",
        needed: Collection[str] | None = None,
        sites: np.ndarray | None = None,
    ) -> Given:
        """Returns examples or rows of the user, checked; a given context takes the place of one in the rows. The
        arguments are those of `log_prob`, the names of needed columns, and the sites bool[*grid] that are read.
        """
        numbers = None
        if is_rows(x) and (self.dataset.rows is not None or not hasattr(x, "columns")):  # a frame may be an array
            read, numbers = self.read(x, unknown, needed)
            x, mask = read["x"], read.get("mask") if mask is None else mask
            context = read.get("context") if context is None else context
        x, spec, context = np.asarray(as_array(x, "x")), self.model.context_spec, self._context(context)
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
        examples = array_source(self.model.event, spec, "given", arrays)
        if examples.has_holes and "holes" not in self.model.traits:
            present = is_present(x, len(self.model.event.value_shape))
            if not present[:, np.ones(present.shape[1:], bool) if sites is None else sites].all():
                raise UserError(f"x has missing values, and this model takes none: {MISSING_VALUES}")
        if numbers is None:  # rows are standardised when they are read
            remark_if_raw(self.dataset.scale, x)
        return Given(examples, np.arange(len(x)) if numbers is None else numbers)

    def _rows_of_data(self) -> Rows:
        if self.dataset.rows is None:
            raise UserError(
                "rows are those of a table, of strings or of a text that the model was trained on: examples of "
                f"{self.dataset.name!r} are given as arrays"
            )
        return self.dataset.rows

    def _table(self, needed_by: str) -> TableRows:
        if not isinstance(self.dataset.rows, TableRows):
            raise UserError(f"{needed_by} by names needs the columns of a table, and {self.dataset.name!r} has none")
        return self.dataset.rows

    def read(self, rows: Any, unknown: str = "refuse", needed: Collection[str] | None = None) -> RowsRead:
        """Rows as arrays, and their numbers; the arguments are those of `source`."""
        holes = "holes" in self.model.traits and self.model.event.may_lack_values
        return self._rows_of_data().read(rows, unknown=unknown, holes=holes, needed=needed)

    def _sites(self, sites: Any, called: str) -> np.ndarray:
        """Returns sites given by the names of columns or as marks as bool[*grid]."""
        names = [sites] if isinstance(sites, str) else sites
        if isinstance(names, list | tuple | set) and all(isinstance(name, str) for name in names):
            if not names:
                return np.zeros(self.model.event.grid_shape, bool)
            return self._table(called).sites(sorted(names), called)
        return as_sites(self.model.event, sites, called)

    def _context(self, context: Any) -> Any:
        """Returns a context in which the names of classes are replaced by their numbers."""
        if isinstance(context, str) or (isinstance(context, list | tuple) and context and isinstance(context[0], str)):
            numbers = class_numbers([context] if isinstance(context, str) else context, self.dataset.classes)
            return numbers[0] if isinstance(context, str) else numbers
        return context

    def evaluator(self, hidden: HiddenSites | None = None) -> Evaluator:
        """Returns the evaluator of examples as they are given, or of a query: the same object each time."""
        evaluators: dict[HiddenSites | None, Evaluator] = self.__dict__.setdefault("_evaluators", {})
        if hidden not in evaluators:
            evaluators[hidden] = Evaluator(self.model, self._as_given, self.settings.scoring, hidden)
        return evaluators[hidden]

    @property
    def _as_given(self) -> Dataset:
        return dataclasses.replace(self.dataset, transform=None)


@dataclasses.dataclass(repr=False)
class Fitted(TrainedModel):
    """A trained model without a config: of `arjax.fit_arrays`, or out of a file."""

    model: Model
    params: Any
    dataset: Dataset
    settings: Settings = dataclasses.field(default_factory=Settings)
    results: Mapping[str, Any] | None = None
    history: Mapping[str, Curve] = dataclasses.field(default_factory=dict)

    def in_notebook(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("results", "model", "params", "history")}

    def __repr__(self) -> str:
        return f"Fitted({self.model!r}{scores_in_words(self.results)})"


def _as_key(seed: Any) -> jax.Array:
    check_seed(seed)
    return jax.random.key(seed)
