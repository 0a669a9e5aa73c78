"""How a call becomes entitled: schemes and where their secrets come from."""
