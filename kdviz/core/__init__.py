"""What knows nothing of models: errors, registries, files, jobs, languages, pictures."""
