"""How good are samples? Features, distances, neighbourhoods, classes, intervals, and the ledger of results."""
