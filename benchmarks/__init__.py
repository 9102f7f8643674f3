"""How fast Signalbox is, beside its peers, on the machine at hand: `python -m benchmarks`."""
