"""Demur: a service that knows when a language model does not know."""

__version__ = "0.1.0"
