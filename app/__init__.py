"""Signalbox, the LLM gateway that notices: one OpenAI-compatible door in front of many providers."""

__version__ = "0.1.0"
