"""PostgreSQL: the embedded server, connections, and one module for each kind of row kept."""
