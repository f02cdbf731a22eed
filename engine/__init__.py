"""engine: turns a bundle into the fastest correct thing for the machine it stands on, proves it, and runs it."""

from engine.telemetry import forbid_telemetry

# Here, because whatever of ours imports OpenVINO imports this package first.
forbid_telemetry()
