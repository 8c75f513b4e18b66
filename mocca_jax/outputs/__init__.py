"""The files of a run: what is in its folder, and what each file holds."""
