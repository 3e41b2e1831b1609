"""Secrets, config maps and volumes of a cluster: who names them, and the files and folders that stand for them here."""
