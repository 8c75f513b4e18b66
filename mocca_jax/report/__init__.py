"""The page of a finished run, its plots, overlays and films, made from the files it left."""
