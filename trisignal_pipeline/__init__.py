"""From Databento 1-minute futures files to trading signals, checked bar by bar."""
