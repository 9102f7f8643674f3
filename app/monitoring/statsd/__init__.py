"""The same metrics for statsd and Datadog's agent, in datagrams."""
