"""What goes wrong around a gateway, by name: a provider that misbehaves, a proxy that damages, and both at random."""
