"""Many daemons seen together: rules and a board for Prometheus and Grafana."""
