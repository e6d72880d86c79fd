"""An audit of any model: is this number a likelihood? Of plain functions of numpy arrays, or of a trained model."""

from arjax.testing.auditing.findings import TESTS, Finding, Verdict
from arjax.testing.auditing.report import Report, audit, audit_laws, report_file
from arjax.testing.auditing.subject import Subject

__all__ = ["TESTS", "Finding", "Report", "Subject", "Verdict", "audit", "audit_laws", "report_file"]
