"""The page Bring your models: ``kdviz import`` in the browser."""
