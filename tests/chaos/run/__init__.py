"""Callers of all kinds and faults on every side of a real gateway, in an order that a seed decides; then the audit."""
