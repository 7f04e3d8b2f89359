"""Where bars come from: DBN files and their verification, and the sample market."""
