"""What models say of the samples of a split: accuracy, mistakes, examples."""
