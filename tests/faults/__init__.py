"""What production does to a gateway, a test for each; `docs/faults.md` is made of their names and docstrings."""
