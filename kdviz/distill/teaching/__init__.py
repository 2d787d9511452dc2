"""Who teaches whom: a chain of assistants or generations between teacher and student, or a cohort that learns together."""
