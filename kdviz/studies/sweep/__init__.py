"""Studies over many trainings: one setting is varied over several seeds."""
