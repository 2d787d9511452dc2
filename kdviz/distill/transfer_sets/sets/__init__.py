"""The transfer sets, a file each."""
