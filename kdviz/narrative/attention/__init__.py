"""The attention study in words, as Markdown and as one JSON document."""
