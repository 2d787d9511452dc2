"""The page Attention study."""
