"""What processes owe each other: one writer of a folder at a time, and an end when it is time."""
