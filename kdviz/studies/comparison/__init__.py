"""The models of an experiment beside each other: what figures allow to be said."""
