"""Drafts: sources of proposals for samplers that read several steps in one call of the model."""

from arjax.samplers.drafts.base import DRAFTS, Draft, make_draft
from arjax.samplers.drafts.counts import CountsDraft
from arjax.samplers.drafts.other_model import Ahead, OtherModel

__all__ = ["DRAFTS", "Ahead", "CountsDraft", "Draft", "OtherModel", "make_draft"]
