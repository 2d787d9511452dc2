"""The page Methods and limits."""
