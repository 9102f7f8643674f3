"""What the gateway promises under stress: lag, overload, silence, loss and restart, each measured."""
