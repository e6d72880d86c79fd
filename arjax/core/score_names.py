"""The kinds of scores, from the strongest to the weakest, and the names under which reports hold them."""

#: The log-likelihood itself, and the kind of a score that is no likelihood: a proper score of samples, the lower the
#: better.
EXACT, NO_LIKELIHOOD = "exact", "none"
#: Kinds of scores.
SCORE_KINDS = (EXACT, "bound", "estimate", NO_LIKELIHOOD)
NLL, SAMPLE_SCORE = "nll_nats", "sample_score"


def weakest(*kinds: str) -> str:
    """Returns the kind of a number that is made of scores of these kinds."""
    return max(kinds, key=SCORE_KINDS.index)


def kind_of_mixture(*kinds: str, unbiased: bool) -> str:
    """Returns the kind of the mixture of scores of these kinds.

    For draws L_k of which E[exp(L_k)] is at most p_k (`unbiased`), the mixture of bounds is a bound by the concavity of
    the logarithm; of others it is an estimate.
    """
    kind = weakest(*kinds)
    return "estimate" if kind == "bound" and not unbiased else kind


def score_name(kind: str) -> str:
    """The entry of a report that selects parameters and compares models: `nll_nats`, or `sample_score` where there is
    no likelihood.
    """
    return SAMPLE_SCORE if kind == NO_LIKELIHOOD else NLL
