"""RISE: masks, estimators, and the engine that runs models on masked pictures. Tensors only."""
