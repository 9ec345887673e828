"""What verbs run: bags through the node or offline, child processes, records, the live line."""
