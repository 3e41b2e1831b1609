"""Stage data_prep: labelled images in, a checked and split dataset out."""
