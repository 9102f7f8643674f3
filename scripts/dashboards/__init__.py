"""Grafana's dashboards, as code: `python -m scripts.dashboards` writes `docker/grafana/dashboards/*.json`."""
