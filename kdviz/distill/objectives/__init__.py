"""What a training minimises: losses on logits and on features."""
