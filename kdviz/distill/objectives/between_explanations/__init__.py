"""Losses between a student's explanation of its teacher's class and the teacher's own, one a file of its name.

Each has two parts: ``explain``, which computes an explanation from a network's answers to a batch, and the loss, a pure
function of two explanations, lower is better. A student is trained on L + weight * loss (Parchami-Araghi et al., 2024,
eq. 3), so its explanation is differentiated; the teacher's gets no gradient. The class is always the teacher's.
"""
