"""Proof by file: data are coded by the conditionals and decoded; the bytes of the file are their probability."""

from __future__ import annotations

import math

import numpy as np

from arjax.coding.entropy import Chooser, Decoder, Encoder, coder_version
from arjax.core.errors import UserError
from arjax.testing.auditing.claims import chain
from arjax.testing.auditing.findings import FAILED, NOT_DONE, PASSED, UNDECIDED, Finding, audit_test
from arjax.testing.auditing.subject import Budget, Subject

#: Examples in the file.
ROWS = 64
#: Bits of a file beyond the claim: of its words, of each symbol and of each bit, as tables have 24 bits.
WORDS, PER_SYMBOL, PER_BIT = 96, 0.01, 0.002


@audit_test("conditionals", finds="all that makes a number better than a file of the same data can be")
def audit_file(subject: Subject, rng: np.random.Generator, budget: Budget) -> Finding:
    """The probabilities that code a value see zeros in place of it and of all later values."""
    try:
        coder_version()
    except UserError as refusal:
        return Finding(NOT_DONE, str(refusal))
    steps = len(subject.steps)
    rows = budget.rows(subject, "conditionals", 3 * ROWS * steps, 0.5) // (3 * steps)
    if not rows:
        return Finding(UNDECIDED, f"there is no time for {steps} steps: raise budget_s")
    x = subject.examples(rng, rows) if subject.data is None else subject.data[rng.permutation(len(subject.data))[:rows]]
    budget.tell(subject, "conditionals", 3 * len(x) * steps, f"a file of {len(x)} examples")
    score = chain(subject, x) if subject.log_prob is None else subject.mean_scores(x)[0]
    claimed, counted = float(-score.sum() / math.log(2)), subject.counted(x)
    if not np.isfinite(claimed):
        return Finding(UNDECIDED, "an example has the probability 0, and no file")
    encoder = Encoder()
    try:
        _code(subject, encoder, len(x), x)
        data = encoder.words().tobytes()
        again = _code(subject, Decoder(np.frombuffer(data, np.uint32)), len(x), None)
    except UserError as refusal:
        return Finding(UNDECIDED, str(refusal))
    numbers = {"bits of the file": 8 * len(data), "bits of the claim": claimed, "examples": len(x)}
    words = f"{len(x)} examples are a file of {len(data):,} bytes, where the scores say {claimed / 8:,.1f}"
    if 8 * len(data) > claimed + WORDS + PER_SYMBOL * counted.sum() + PER_BIT * abs(claimed):
        return Finding(FAILED, f"{words}: fewer than the conditionals need", numbers, {"x": x, "log_prob": score})
    if not np.array_equal(again, x):
        return Finding(UNDECIDED, "the file decodes to other data: the conditionals are not deterministic", numbers)
    return Finding(PASSED, f"{words}, and decodes to the same examples", numbers, proves=True)


def _code(subject: Subject, chooser: Chooser, num: int, x: np.ndarray | None) -> np.ndarray:
    """Returns the examples of a file, from their values or from the file."""
    canvas = np.zeros((num, subject.event.num_dims), subject.event.dtype)
    known = canvas if x is None else x.reshape(num, -1)
    goes_on = np.ones(num, bool)
    for t, scalar in enumerate(subject.steps):
        table = subject.tables(canvas.reshape(num, *subject.event.shape), t).astype(np.float32)[:, None]
        behind_end = np.full(num, subject.end or 0)
        values = np.where(goes_on, known[:, scalar], behind_end).astype(np.int32)
        canvas[:, scalar] = chooser(table, goes_on[:, None], values[:, None])[:, 0]
        goes_on &= canvas[:, scalar] != (-1 if subject.end is None else subject.end)
    return canvas.reshape(num, *subject.event.shape)
