"""Endings of the names of files by what they hold; known without opening them."""

FILMS = (".avi", ".mp4", ".m4v", ".mkv", ".mov", ".mpg", ".mpeg", ".webm", ".wmv")
