"""Reading what the pipeline stored, for people and programs. Writes nothing."""
