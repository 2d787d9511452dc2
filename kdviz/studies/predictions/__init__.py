"""What models predict for the samples of a split: accuracy, mistakes, examples."""
