"""Stage data_part: one part of a data set in, its checked rows out."""
