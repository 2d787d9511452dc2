"""What models cost and how they become smaller: export, quantisation, profile."""
