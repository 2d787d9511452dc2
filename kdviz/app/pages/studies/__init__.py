"""The pages of sweeps: Temperature, the others, Teacher epochs."""
