"""Who teaches whom: chains of assistants or generations, and networks that learn from each other."""
