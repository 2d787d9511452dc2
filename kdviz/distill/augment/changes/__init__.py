"""Changes of a batch, one a file of its name: of each image, or mixes of pairs of samples."""
