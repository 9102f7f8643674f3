"""Forwarding bytes: one contract, and what keeps it."""
