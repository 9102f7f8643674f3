"""OpenTelemetry: traces and the GenAI metrics, exported by OTLP. Off, it costs a call two lookups."""
