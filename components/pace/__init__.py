"""The first rung of a race, planned again when the teacher is trained."""
