"""Transfer sets: the pictures that a student is distilled on, where they are not the teacher's training pictures."""
