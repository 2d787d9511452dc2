"""Numbers about experiments: predictions, comparison, sweeps, attention. Tables and data of verdicts; no sentences."""
