"""What the files of pictures ask of their decoders."""
