"""One module for each noun of the API; three steps each: read, call a service, reply."""
