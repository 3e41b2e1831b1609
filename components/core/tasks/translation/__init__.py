"""Machine translation: pairs of sentences, and encoder-decoders of the Marian family. Not a task yet: no `task.py`."""
