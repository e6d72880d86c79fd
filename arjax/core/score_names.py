"""The name under which reports hold the score of a model, by its kind."""

#: The kind of a score that is no likelihood: a proper score of samples, the lower the better.
NO_LIKELIHOOD = "none"
NLL, SAMPLE_SCORE = "nll_nats", "sample_score"


def score_name(kind: str) -> str:
    """The entry of a report that selects parameters and compares models: `nll_nats`, or `sample_score` where there is
    no likelihood.
    """
    return SAMPLE_SCORE if kind == NO_LIKELIHOOD else NLL
