"""The assets: the journey of a bar from a raw file to a triangle, one file a station."""
