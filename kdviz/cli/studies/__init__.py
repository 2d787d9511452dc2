"""What `kdviz study` does beside attention studies: regions that people drew, and planted shortcuts."""
