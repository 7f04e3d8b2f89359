"""What a market is: symbols and contracts, calendar and sessions, lead contract, bars, hygiene.

Pure: numpy and the standard library. Nothing here knows of files, databases or Dagster.
"""
