"""Metric writers, progress, pictures and tables. They take plain arrays and dicts, and know no model."""
