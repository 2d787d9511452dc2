"""The search for a recipe of distillation: trials on the validation split, and the winner's test with new seeds."""
