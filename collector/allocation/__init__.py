"""Questions about a period: what they are, how the ledger answers them, in time and in money."""
