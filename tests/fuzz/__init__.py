"""Inputs nobody wrote: schemathesis against our own description, Hypothesis on every parser that is ours.

docs/fuzzing.md says what is fuzzed, against which oracle, and how it is run for longer.
"""
