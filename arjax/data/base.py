"""The data set: an event, a context, and one source of examples per split."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

from arjax.core.batch import Batch
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.options import checked_arguments, opt
from arjax.core.registry import Component, Registry
from arjax.core.spec import FIXED_LEVELS, NO_CONTEXT, ContextSpec, EventSpec, check_spec
from arjax.data.rows import Rows
from arjax.data.sources import SPLITS, ArraySource, Source, Subset, check_digits, has_holes, source_of, tell_same_arrays
from arjax.data.standardised import in_standard_units
from arjax.data.vocabulary import Vocabulary

#: Workdir -> another run, with its `model`, its best `params` and its `dataset`.
OpenRun = Callable[[str], Any]
OPEN_RUN = "open_run"
#: (key, batch, train) -> batch, inside a jitted step.
Transform = Callable[[jax.Array, Batch, bool], Batch]
DATASETS = Registry("dataset", hidden=(OPEN_RUN,))
#: The most values of examples that an ordering reads at once.
MOST_VALUES = 2**27


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Truth:
    """The distribution that the examples of a data set were drawn from: a pytree of arrays. The model has the event of
    the data set, and its conditionals are exact at every prefix.

    Attributes:
      model: a model with conditionals; or the call string of its network, see `arjax.evaluation.exposure.open_truth`.
      end: the token that ends an example of strings; None: examples are whole.
    """

    model: Any
    params: Any
    end: int | None = dataclasses.field(default=None, metadata={"static": True})


@dataclasses.dataclass(frozen=True, repr=False)
class Dataset:
    """A data set, ready to train on.

    Attributes:
      event, context: of one example.
      splits: sources of "train" and optionally "validation" and "test".
      vocabulary: the tokens of a text; None for all other data.
      transform: pure function (key, batch, train) -> batch that runs inside the jitted step, such as dynamic
        binarization; None when batches are used as they are.
      scale, shift: float64[*event.shape] for real data that was standardised, z = (x - shift) / scale: in float32 a
        column that varies little around a large number would lose its digits. Evaluation reports the density in data
        units, log p(x) = log p(z) - sum(log(scale)). None: nothing was scaled.
      sound: a function from examples of sound to waveforms float[N, T] in [-1, 1], and their rate in Hz; None for
        others.
      rows: how rows of the user become examples, of tables and texts; None for all others.
      classes: the names of the classes of a label; () where they are only numbers.
      fingerprint: digest of the contents of files that a user may change: a run is opened only with the files that it
        was trained on. "": there are none, or they are not checked.
      truth: the distribution that the examples were drawn from; None if it is unknown.
      answer: for examples whose scored sites are the answer to the others, the measure that evaluation reports,
        "accuracy" or "squared_error" of the most probable value; "" for all others.
      score_of_draws: that of the objective of a run, see `arjax.objectives.Objective`: a split is scored by as many
        fresh draws of the model as it has examples; None: its examples are scored.
    """

    name: str
    event: EventSpec
    context: ContextSpec
    splits: Mapping[str, Source]
    vocabulary: Vocabulary | None = None
    transform: Transform | None = None
    scale: np.ndarray | None = None
    shift: np.ndarray | None = None
    sound: tuple[Callable[[np.ndarray], np.ndarray], int] | None = None
    rows: Rows | None = None
    classes: tuple[str, ...] = ()
    fingerprint: str = ""
    truth: Truth | None = None
    answer: str = ""
    score_of_draws: Callable[..., Any] | None = None

    @property
    def decode(self) -> Callable[[np.ndarray], str] | None:
        """Tokens int[T] -> text; None for data other than text."""
        return None if self.vocabulary is None else self.vocabulary.decode

    @property
    def encode(self) -> Callable[[str], np.ndarray] | None:
        """Text -> tokens int32[T], the inverse of `decode`."""
        return None if self.vocabulary is None else self.vocabulary.encode

    @property
    def to_cells(self) -> Callable[[np.ndarray], list[list[str]]] | None:
        """Examples [N, D] in data units -> rows of cells, the names of the columns first; None for other data."""
        return getattr(self.rows, "to_cells", None)

    @property
    def has_holes(self) -> bool:
        """Whether values of some split may be missing, see `arjax.core.arrays`."""
        return any(map(has_holes, self.splits.values()))

    @property
    def end(self) -> int | None:
        """The token that ends an example of strings; None for all other data."""
        return None if self.vocabulary is None else self.vocabulary.end

    @property
    def text_unit(self) -> str:
        """The unit of a token, "char" or "byte"; "" for data other than text."""
        return "" if self.vocabulary is None else self.vocabulary.unit

    def __repr__(self) -> str:
        given = f"given {' and '.join(name for name, _ in self.context.parts)}; " if self.context else ""
        sizes = ", ".join(f"{split} {len(source):,}" for split, source in self.splits.items())
        return f"Dataset({self.name}: {self.event.in_words}; {given}{sizes or 'no examples'})"

    @property
    def log_scale_D(self) -> np.ndarray:
        """The term of each site that turns -log p into -log of the density in data units, float32[D]."""
        if self.scale is None:
            return np.zeros(self.event.num_sites, np.float32)
        return np.log(self.scale, dtype=np.float64).reshape(self.event.num_sites, -1).sum(1).astype(np.float32)

    def some_examples(self, split: str, most: int = 20_000) -> np.ndarray:
        """Returns at most `most` examples of a split (and half a GB), evenly spaced, [N, *event.shape]; examples that
        have weight 0, or a masked or missing site, are left out.
        """
        source = self.splits[split]
        most = max(1, min(most, MOST_VALUES // math.prod(self.event.shape)))
        every = -(-len(source) // most)
        rows = source.__getitems__(np.arange(0, len(source), every))
        counts = rows.scored(self.event.grid_shape).reshape(len(rows), -1).all(1)
        nothing = f"no order can be read off {self.name!r}: every example has sites that are not scored or missing"
        refuse((not counts.any(), nothing))
        return np.asarray(rows.x) if counts.all() else np.asarray(rows.x)[counts]

    def check_alike(self, asking: str) -> None:
        """Refuses sites that are columns or have scales, as other lengths have none; `asking` begins the sentence."""
        unlike = self.scale is not None or self.to_cells is not None
        refuse((unlike, f"{asking} needs sites that are alike, and these are columns or have a scale each"))

    def thinned(self, num: int) -> Dataset:
        """Returns the data set with at most `num` examples in each split, evenly spaced; 0: all."""
        splits = dict(self.splits)
        for split, source in self.splits.items():
            if 0 < num < len(source):
                splits[split] = Subset(source, self.thinned_numbers(split, num))
        return dataclasses.replace(self, splits=splits) if num else self

    def thinned_numbers(self, split: str, num: int) -> np.ndarray:
        """Returns the numbers of the examples of a split that `thinned` keeps, int[N], rising."""
        size = len(self.splits[split])
        return np.arange(size) if not num or size <= num else np.arange(num) * size // num

    def events(self, split: str, numbers: np.ndarray) -> Batch:
        """Returns the examples of these numbers as the model sees them outside of training."""
        batch = self.splits[split].__getitems__(numbers)
        return batch if self.transform is None else self.transform(jax.random.key(0), batch, False)

    def first_examples(self, num: int) -> Batch:
        """Returns the first `num` examples of the last split, usually test, repeated where there are fewer."""
        split = list(self.splits)[-1]
        return self.events(split, np.arange(num) % len(self.splits[split]))

    def in_data_units(self, x: np.ndarray) -> np.ndarray:
        """Returns examples [N, *event.shape] as they were before they were standardised."""
        return x if self.scale is None or self.shift is None else x * self.scale + self.shift


@checked_arguments()
def from_arrays(
    event: EventSpec,
    *,
    train: np.ndarray | Mapping[str, np.ndarray],
    validation: np.ndarray | Mapping[str, np.ndarray] | None = None,
    test: np.ndarray | Mapping[str, np.ndarray] | None = None,
    context: ContextSpec = NO_CONTEXT,
    name: str = "arrays",
    extra: Sequence[str] = (),
    standardise: str = "",
) -> Dataset:
    """Makes a data set of arrays in memory, for notebooks: `from_arrays(EventSpec((8, 8)), train=x)`.

    Args:
      train: examples [N, *event.shape], or a dict with `x` and optionally `context`, `mask[N, *grid]` (0 or 1: the
        sites that are scored) and `weight[N]` (0 or 1: the scored examples). A context of several parts is a dict of
        arrays. NaN marks a missing real value, also in columns (see `arjax.core.arrays`).
        Or anything with `len` and `[number]` whose items are such examples, as a grain `MapDataset`: it is read one by
        one, as batches need it, and its items must be the same each time.
      validation, test: likewise; None for no such split.
      extra: names of further arrays [N, ...] of the splits, which the transform of the data set reads.
      standardise: the network sees real values minus their mean, divided by their standard deviation on the train
        split: "sites" for each place of an example, "values" over all sites together, as for images and series; "":
        values as they are. Scores are densities in the units of the arrays all the same, see `Dataset.in_data_units`.
    """
    check_spec(event, EventSpec)
    check_spec(context, ContextSpec)
    refuse((train is None, "a data set needs train examples, and train is None"))
    splits = {"train": train, "validation": validation, "test": test}
    given = {split: arrays for split, arrays in splits.items() if arrays is not None}
    return from_splits(event, given, context=context, name=name, extra=extra, standardise=standardise)


def from_splits(
    event: EventSpec,
    given: Mapping[str, np.ndarray | Mapping[str, Any]],
    *,
    context: ContextSpec = NO_CONTEXT,
    name: str,
    extra: Sequence[str] = (),
    standardise: str = "",
    columns: Sequence[str] = (),
    **more: Any,
) -> Dataset:
    """Makes the data set of `from_arrays` from the arrays of each split by its name; `columns` name the places in
    messages, and `more` are further fields of the data set.
    """
    examples: Any
    for split, examples in given.items():  # other libraries take examples with their classes as a pair (x, labels)
        is_pair = isinstance(examples, tuple) and [type(x) for x in examples] == [np.ndarray] * 2
        if is_pair and examples[0].shape != examples[1].shape:
            raise UserError(f"the {split} examples are a pair of arrays: write a dict, {{'x': ..., 'context': ...}}")
    splits = {split: source_of(event, context, split, examples, extra) for split, examples in given.items()}
    in_memory = {split: source for split, source in splits.items() if isinstance(source, ArraySource)}
    if standardise:
        remedy = "standardise reads all examples first: standardise those that are read one by one where they are made"
        refuse((len(in_memory) < len(splits), remedy))
        more |= in_standard_units(event, in_memory, standardise, name, columns)
    for split, source in in_memory.items():
        check_digits(event, context, split, source.arrays, "give standardise='sites', or leave the place out")
    tell_same_arrays({split: source.arrays for split, source in in_memory.items()})
    return Dataset(name, event, context, splits, **more)


def make_dataset(name: str | Component, *, open_run: OpenRun | None = None, **options: Any) -> Dataset:
    """Makes the data set registered under `name` with these options, or that of a component, which has its options.
    `open_run` opens another run by its workdir, for the data sets that are made of one.
    """
    component = name if isinstance(name, Component) else DATASETS.component(name, options)
    takes_run = OPEN_RUN in inspect.signature(component.function).parameters
    try:
        return component.build(**({OPEN_RUN: open_run} if takes_run else {}))
    except OSError as error:  # from a function of a user that reads files
        reason = f"{error.strerror}: {error.filename}" if error.filename else str(error)
        raise UserError(f"cannot read the data set {component.name!r}: {reason}") from error


#: Levels of data where no number is given.
USUAL_LEVELS = 256


def levels_of(kind: str, num_levels: int) -> int:
    """Returns the levels of a kind of data; the option `num_levels` only affects levels and tokens."""
    levels = FIXED_LEVELS.get(kind, num_levels)
    if num_levels not in (levels, USUAL_LEVELS):
        say_once(f"the data set option num_levels={num_levels} has no effect on {kind} data")
    return levels


def context_option() -> Any:
    """Declares the option `context` of data with classes."""
    return opt("none", choices=("none", "label"))


def label_context(context: str, num_classes: int) -> ContextSpec:
    """Returns the context of the option `context`."""
    return ContextSpec("label", num_classes) if context == "label" else NO_CONTEXT


def split_sizes(num_examples: int, part: int = 4) -> dict[str, int]:
    """Returns the sizes of the splits: validation and test have a `part`-th of the train split."""
    return {split: num_examples // (part if i else 1) for i, split in enumerate(SPLITS)}


Drawn = TypeVar("Drawn")


def draw_splits(
    draw: Callable[[np.random.Generator, int], Drawn], num_examples: int, seed: int, part: int = 4
) -> dict[str, Drawn]:
    """Returns the examples of each split, from `draw(rng, number of examples)`."""
    sizes = split_sizes(num_examples, part)
    return {split: draw(np.random.default_rng((seed, i)), size) for i, (split, size) in enumerate(sizes.items())}
