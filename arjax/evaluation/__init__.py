"""Exact scores of trained models."""
