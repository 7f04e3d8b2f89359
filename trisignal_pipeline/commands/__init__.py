"""The commands of `trisignal`, one subject a file. Each parses, calls one function, and prints."""
