"""What a session sends: files are checked before they are used, and are gone when it ends."""
