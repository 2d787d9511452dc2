"""Networks: by name, from files of any kind, and with their inputs."""
