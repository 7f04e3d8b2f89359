"""The HTTP interface: it parses a request, asks the query room, and writes the answer."""
