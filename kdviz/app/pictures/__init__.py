"""Pictures of an experiment as pages show them: stored, bundled, small, or not here and to be fetched."""
